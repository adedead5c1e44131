//! The id on the host of a sandbox that root starts: nobody else's.

use chiton_driver::SandboxId;

const FIRST: u32 = 0x7000_0000;
const COUNT: u32 = 0x0fff_0000;

/// The same for the same sandbox, unless another that lives has it.
pub(crate) fn host_id(id: &SandboxId, taken: &[u32]) -> u32 {
    // FNV-1a: stable across versions of the standard library.
    let hash = id
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let candidates = (0..COUNT).map(|n| FIRST + (hash % COUNT + n) % COUNT);
    let mut free = candidates.filter(|candidate| !taken.contains(candidate));
    free.next().unwrap_or(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_stable_and_never_shared() {
        let id = SandboxId::try_from("01hzzzzzzzzzzzzzzzzzzzzzzz".to_owned()).unwrap();
        let first = host_id(&id, &[]);
        assert_eq!(first, host_id(&id, &[]));
        assert!((FIRST..FIRST + COUNT).contains(&first));
        assert_ne!(first, host_id(&id, &[first]));
    }
}
