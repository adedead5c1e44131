//! When an event was, and its id: both sort by time.

use std::{
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::{Generator, Ulid};

/// A moment, to the microsecond, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Timestamp);

impl Time {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0.as_microsecond()
    }
}

/// As it is written: six digits of a second, always.
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

impl Time {
    /// Appends it as JSON has it, in quotes: digits need no escapes.
    pub(crate) fn push_to(self, line: &mut String) {
        line.push('"');
        // A text takes whatever is written to it.
        let _ = PRINTER.print_timestamp(&self.0, &mut *line);
        line.push('"');
    }

    /// The day that it is in, in UTC, counted from 1970.
    #[must_use]
    pub fn day(self) -> i64 {
        self.as_micros().div_euclid(DAY)
    }

    /// How long it is to the next midnight, UTC.
    #[must_use]
    pub fn to_midnight(self) -> Duration {
        Duration::from_micros(u64::try_from(DAY - self.as_micros().rem_euclid(DAY)).unwrap_or(0))
    }

    /// The next midnight, UTC.
    #[must_use]
    pub fn midnight(self) -> Self {
        let next = (self.day() + 1).saturating_mul(DAY);
        Timestamp::from_microsecond(next).map_or(self, Self)
    }
}

/// Microseconds.
const DAY: i64 = 86_400_000_000;

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let exact = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
        Self(Timestamp::from_microsecond(exact.as_microsecond()).unwrap_or(exact))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&PRINTER.timestamp_to_string(&self.0))
    }
}

impl FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An event's id: a ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Ulid);

impl EventId {
    /// A new id, greater than every one that this process made before.
    #[must_use]
    pub fn next() -> Self {
        static GENERATOR: Mutex<Generator> = Mutex::new(Generator::new());
        let mut generator = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
        Self(generator.generate().unwrap_or_else(|overflow| overflow.commit_overflow_increment()))
    }

    /// Appends it as JSON has it, in quotes: letters and digits need no escapes.
    pub(crate) fn push_to(self, line: &mut String) {
        line.push('"');
        line.push_str(self.0.array_to_str(&mut [0; ulid::ULID_LEN]));
        line.push('"');
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EventId {
    type Err = ulid::DecodeError;

    fn from_str(text: &str) -> Result<Self, ulid::DecodeError> {
        Ulid::from_string(text).map(Self)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
