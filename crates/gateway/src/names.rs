//! Made-up names: an adjective and a noun, as a host name's label.

use chiton_api::name::SandboxName;
use ulid::Ulid;

const ADJECTIVES: [&str; 32] = [
    "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "coral", "crisp", "deft", "eager", "fair",
    "fleet", "gentle", "glad", "golden", "keen", "kind", "lively", "lucid", "mellow", "merry", "mild",
    "neat", "nimble", "proud", "quick", "quiet", "rapid", "sunny", "swift", "tidy",
];
const NOUNS: [&str; 32] = [
    "anchovy",
    "auk",
    "barnacle",
    "bass",
    "clam",
    "cockle",
    "conch",
    "cormorant",
    "crab",
    "cuttlefish",
    "dolphin",
    "eel",
    "gannet",
    "gull",
    "heron",
    "kelp",
    "limpet",
    "lobster",
    "mussel",
    "nautilus",
    "octopus",
    "otter",
    "oyster",
    "puffin",
    "ray",
    "seal",
    "shrimp",
    "skate",
    "squid",
    "tern",
    "urchin",
    "whelk",
];

/// A name that is probably free; from the second attempt on with digits, so that one is found soon.
pub(crate) fn made_up(attempt: u32) -> Option<SandboxName> {
    let random = Ulid::generate().random();
    let pick = |words: &[&'static str; 32], shift: u32| words.get((random >> shift & 31) as usize).copied();
    let (adjective, noun) = (pick(&ADJECTIVES, 0)?, pick(&NOUNS, 5)?);
    let text = match attempt {
        0 => format!("{adjective}-{noun}"),
        _ => format!("{adjective}-{noun}-{}", random >> 10 & 0xffff),
    };
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{ADJECTIVES, NOUNS, made_up};

    #[test]
    fn every_name_is_a_label() {
        for attempt in 0..200 {
            assert!(made_up(attempt % 2).is_some());
        }
        let longest = |words: &[&str]| words.iter().map(|w| w.len()).max().unwrap_or(0);
        // Never as long as an identity, which no name may look like.
        assert!(longest(&ADJECTIVES) + 1 + longest(&NOUNS) + 6 < 26);
    }
}
