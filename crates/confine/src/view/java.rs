//! Java's store of trusted roots, with the sandbox's authority in it.
//!
//! In: the host's store in Java's own format ("JKS", two versions of it alike for certificates), and a certificate.
//! Out: the same store with one more entry. Its last twenty bytes are a checksum over the rest and a password
//! that is the same everywhere; it keeps no secret and protects from accidents only.

use std::io::{self, Read};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};

const MAGIC: &[u8] = &[0xFE, 0xED, 0xFE, 0xED];
/// Magic, version, number of entries.
const HEADER: usize = 12;
const CHECKSUM: usize = 20;
const TRUSTED_CERTIFICATE: u32 = 2;
const ALIAS: &str = "chiton-sandbox";
/// The password of every Java's own store, and the words that Java puts after it.
const PASSWORD: &str = "changeit";
const WORDS: &[u8] = b"Mighty Aphrodite";

/// The store with the authority added; none where the host's store is of another format or the certificate is none.
pub(super) fn with_authority(mut store: impl Read, authority: &str) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; HEADER];
    match store.read_exact(&mut header) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let Some(mut out) = begun(&header, authority) else { return Ok(None) };
    let rest = store.read_to_end(&mut out)?;
    if rest < CHECKSUM {
        return Ok(None);
    }
    out.truncate(out.len() - CHECKSUM);
    let sum = checksum(&out);
    out.extend(sum);
    Ok(Some(out))
}

/// The header for one more entry, and that entry.
fn begun(header: &[u8; HEADER], authority: &str) -> Option<Vec<u8>> {
    let certificate = der(authority)?;
    let (magic, counted) = header.split_at_checked(8)?;
    if !magic.starts_with(MAGIC) {
        return None;
    }
    let count = u32::from_be_bytes(counted.try_into().ok()?).checked_add(1)?;
    let mut out = magic.to_vec();
    out.extend(count.to_be_bytes());
    out.extend(TRUSTED_CERTIFICATE.to_be_bytes());
    text(&mut out, ALIAS)?;
    // When it was added: nobody asks.
    out.extend(0_u64.to_be_bytes());
    text(&mut out, "X.509")?;
    out.extend(u32::try_from(certificate.len()).ok()?.to_be_bytes());
    out.extend(certificate);
    Some(out)
}

fn checksum(store: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        hash.update(unit.to_be_bytes());
    }
    hash.update(WORDS);
    hash.update(store);
    hash.finalize().into()
}

fn text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.extend(u16::try_from(text.len()).ok()?.to_be_bytes());
    out.extend(text.as_bytes());
    Some(())
}

/// The first certificate of a PEM text.
fn der(pem: &str) -> Option<Vec<u8>> {
    let (_, body) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = body.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Vec<u8> {
        let mut store = MAGIC.to_vec();
        store.extend([0, 0, 0, 2, 0, 0, 0, 0]);
        let sum = checksum(&store);
        store.extend(sum);
        store
    }

    #[test]
    fn an_entry_is_added_and_the_checksum_holds() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
        let once = with_authority(empty().as_slice(), pem).unwrap().unwrap();
        assert_eq!(once[8..12], [0, 0, 0, 1]);
        let (body, sum) = once.split_at(once.len() - CHECKSUM);
        assert_eq!(sum, checksum(body));
        assert!(body.ends_with(&[0, 0, 0, 3, 0, 1, 2]));
        assert_eq!(with_authority(once.as_slice(), pem).unwrap().unwrap()[8..12], [0, 0, 0, 2]);
    }

    #[test]
    fn what_is_no_store_is_left_alone() {
        let pem = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
        for store in [b"".as_slice(), b"\xFE\xED\xFE\xED", &[0x30; 64], &empty()[..20]] {
            assert_eq!(with_authority(store, pem).unwrap(), None);
        }
        assert_eq!(with_authority(empty().as_slice(), "no certificate").unwrap(), None);
    }
}
