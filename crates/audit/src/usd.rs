//! An amount of money, written as a decimal number and read back to the last digit.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

/// Dollars, in millionths of a millionth: what one token costs at a price of six decimals for a million is a whole
/// number of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(pub u64);

const PLACES: usize = 12;
const ONE: u64 = 1_000_000_000_000;

impl Usd {
    /// Both; the largest amount where that does not fit.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / ONE, self.0 % ONE);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let text = format!("{whole}.{part:0PLACES$}");
        f.write_str(text.trim_end_matches('0'))
    }
}

/// What is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an amount of dollars")]
pub struct NotUsd;

impl FromStr for Usd {
    type Err = NotUsd;

    fn from_str(text: &str) -> Result<Self, NotUsd> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || part.len() > PLACES || !digits(whole) || !digits(part) {
            return Err(NotUsd);
        }
        format!("{whole}{part:0<PLACES$}").parse().map(Self).map_err(|_| NotUsd)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(S::Error::custom)?.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from)?.get().parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_amount_reads_back_as_it_is_written() {
        for (picos, text) in [
            (0, "0"),
            (1, "0.000000000001"),
            (250_000_000_000, "0.25"),
            (300_000, "0.0000003"),
            (3 * ONE, "3"),
            (u64::MAX, "18446744.073709551615"),
        ] {
            let usd = Usd(picos);
            assert_eq!(serde_json::to_string(&usd).unwrap(), text);
            assert_eq!(serde_json::from_str::<Usd>(text).unwrap(), usd);
        }
        for wrong in ["-1", "1e3", "\"1\"", "0.0000000000001", "18446744.073709551616", "null"] {
            assert!(serde_json::from_str::<Usd>(wrong).is_err(), "{wrong}");
        }
    }
}
