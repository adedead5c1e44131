//! Amounts with a unit: bytes, time, processors, money.

use std::time::Duration;

use crate::model::{ByteSize, Cpus, Usd, WallTime};

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnitError {
    /// Bytes.
    #[error("a size is a number with a unit, as `512MiB`, `2G` or `1048576`, and not 0")]
    Size,
    /// Time.
    #[error("a time is a number with a unit, as `90s`, `30m` or `2h`, and not 0")]
    Time,
    /// Processors.
    #[error("a number of processors is as `2` or `0.5`, and not 0")]
    Cpus,
    /// Money.
    #[error("an amount of dollars is as `10` or `2.50`")]
    Usd,
}

pub(crate) fn size(text: &str) -> Result<ByteSize, UnitError> {
    let (number, unit) = split(text);
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(UnitError::Size),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    bytes.filter(|bytes| *bytes > 0).map(ByteSize).ok_or(UnitError::Size)
}

pub(crate) fn time(text: &str) -> Result<WallTime, UnitError> {
    let (number, unit) = split(text);
    let scale: u64 = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(UnitError::Time),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    let seconds = seconds.filter(|seconds| *seconds > 0).ok_or(UnitError::Time)?;
    Ok(WallTime(Duration::from_secs(seconds)))
}

pub(crate) fn cpus(text: &str) -> Result<Cpus, UnitError> {
    let millis = decimal(text, 3).and_then(|millis| u32::try_from(millis).ok()).filter(|millis| *millis > 0);
    millis.map(|millis| Cpus { millis }).ok_or(UnitError::Cpus)
}

pub(crate) fn usd(text: &str) -> Result<Usd, UnitError> {
    decimal(text, 6).map(|micros| Usd { micros }).ok_or(UnitError::Usd)
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    (number, unit.trim())
}

/// A decimal number times ten to the power of `places`, exactly.
fn decimal(text: &str, places: usize) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || part.len() > places || !digits(whole) || !digits(part) {
        return None;
    }
    format!("{whole}{part:0<places$}").parse().ok()
}

/// An amount as it is printed: in the largest unit that needs no fraction.
pub(crate) fn show_size(size: ByteSize) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fit = units.into_iter().find(|(shift, _)| size.0.is_multiple_of(1 << shift));
    fit.map_or_else(|| size.0.to_string(), |(shift, unit)| format!("{}{unit}", size.0 >> shift))
}

pub(crate) fn show_decimal(value: u64, places: u32) -> String {
    let scale = 10_u64.pow(places);
    let (whole, part) = (value / scale, value % scale);
    if part == 0 {
        return whole.to_string();
    }
    let width = usize::try_from(places).unwrap_or(0);
    format!("{whole}.{part:0width$}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{cpus, show_decimal, show_size, size, time, usd};

    #[test]
    fn amounts() {
        assert_eq!(size("512MiB").unwrap().0, 512 << 20);
        assert_eq!(size("2G").unwrap().0, 2 << 30);
        assert_eq!(size("10 MB").unwrap().0, 10_000_000);
        assert_eq!(time("30m").unwrap().0.as_secs(), 1800);
        assert_eq!(cpus("0.5").unwrap().millis, 500);
        assert_eq!(usd("2.50").unwrap().micros, 2_500_000);
        for text in ["", "0", "x", "-1", "1.5GiB", "99999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(time("10").is_err() && cpus("0").is_err() && usd("1.0000001").is_err());
        assert_eq!(show_size(size("1536KiB").unwrap()), "1536KiB");
        assert_eq!(show_decimal(2_500_000, 6), "2.5");
    }
}
