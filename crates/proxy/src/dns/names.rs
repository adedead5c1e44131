//! The table of stand-in addresses: names to numbers and back.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use chiton_policy::{Host, HostName};

use crate::limits;

/// The first stand-in; what lies below in 198.18.0.0/15 is the resolver's and reserved.
const FIRST_V4: u32 = u32::from_be_bytes([198, 18, 1, 0]);
/// The whole range, benchmark addresses that are routed nowhere.
const RANGE_V4: (u32, u32) = (u32::from_be_bytes([198, 18, 0, 0]), u32::from_be_bytes([198, 19, 255, 255]));
/// The unique local prefix, 96 bits; the low 32 are the IPv4 stand-in.
const PREFIX_V6: u128 = 0xfd00_c417_u128 << 96;

/// A name of the sandbox's DNS, in the policy's canonical form.
pub(crate) type DnsName = HostName;

/// The name in a question, where it is well-formed as a host's and no program reads it as an address.
pub(crate) fn parse_name(text: &str) -> Option<DnsName> {
    match Host::parse(text) {
        Ok(Host::Name(name)) => Some(name),
        Ok(Host::Ip(_)) | Err(_) => None,
    }
}

/// The addresses that stand for one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StandIn(u32);

impl StandIn {
    /// For A.
    pub(crate) const fn v4(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(FIRST_V4 + self.0)
    }

    /// For AAAA.
    pub(crate) const fn v6(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(PREFIX_V6 | (FIRST_V4 + self.0) as u128)
    }
}

/// Whether an address is of the ranges that stand for names.
pub(crate) fn is_stand_in(address: IpAddr) -> bool {
    bits(address).is_some()
}

fn bits(address: IpAddr) -> Option<u32> {
    let bits = match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) if address.to_bits() >> 32 == PREFIX_V6 >> 32 => {
            (address.to_bits() & 0xffff_ffff) as u32
        }
        IpAddr::V6(_) => return None,
    };
    (RANGE_V4.0..=RANGE_V4.1).contains(&bits).then_some(bits)
}

/// Why a name gets no stand-in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NoStandIn {
    /// Too many names that no rule could allow, or too many at all.
    #[error("the sandbox has asked for too many names")]
    Exhausted,
    /// The event could not be written, so the next proxy would not know.
    #[error("the event file cannot be written")]
    NotWritten,
}

/// All names asked for so far.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    numbers: HashMap<DnsName, u32>,
    names: Vec<DnsName>,
    strange: usize,
}

impl Names {
    /// The names that earlier proxies of this sandbox gave stand-ins, in order.
    pub(crate) fn restored(names: Vec<DnsName>, could_allow: impl Fn(&DnsName) -> bool) -> Self {
        let numbers = names.iter().cloned().zip(0..).collect();
        let strange = names.iter().filter(|name| !could_allow(name)).count();
        Self(Mutex::new(Table { numbers, names, strange }))
    }

    /// The name that an address stands for.
    pub(crate) fn name_of(&self, address: IpAddr) -> Option<DnsName> {
        let number = bits(address)?.checked_sub(FIRST_V4)?;
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.names.get(usize::try_from(number).ok()?).cloned()
    }

    /// The stand-in of a name; a new one is recorded by `write` first.
    pub(crate) fn stand_in(
        &self,
        name: &DnsName,
        could_allow: bool,
        write: impl FnOnce() -> bool,
    ) -> Result<StandIn, NoStandIn> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = table.numbers.get(name) {
            return Ok(StandIn(*number));
        }
        if table.names.len() >= limits::NAMES || (!could_allow && table.strange >= limits::STRANGE_NAMES) {
            return Err(NoStandIn::Exhausted);
        }
        if !write() {
            return Err(NoStandIn::NotWritten);
        }
        let number = u32::try_from(table.names.len()).map_err(|_| NoStandIn::Exhausted)?;
        table.names.push(name.clone());
        table.numbers.insert(name.clone(), number);
        table.strange += usize::from(!could_allow);
        Ok(StandIn(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DnsName {
        parse_name(text).unwrap()
    }

    #[test]
    fn only_well_formed_names() {
        assert_eq!(name("API.GitHub.com.").as_str(), "api.github.com");
        let long = "a".repeat(64);
        for bad in ["", ".", "a..b", ".a", "a b", "a\0b", "1.2.3.4", "0x7f.1", long.as_str()] {
            assert_eq!(parse_name(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_stand_in_is_stable_and_leads_back() {
        let names = Names::default();
        let first = names.stand_in(&name("a.example"), true, || true).unwrap();
        let second = names.stand_in(&name("b.example"), true, || true).unwrap();
        assert_ne!(first, second);
        assert_eq!(names.stand_in(&name("a.example"), false, || false), Ok(first));
        assert_eq!(first.v4().to_string(), "198.18.1.0");
        assert_eq!(first.v6().to_string(), "fd00:c417::c612:100");
        assert_eq!(names.name_of(second.v4().into()), Some(name("b.example")));
        assert_eq!(names.name_of(second.v6().into()), Some(name("b.example")));
        assert_eq!(names.name_of("198.18.0.2".parse().unwrap()), None);
        assert_eq!(names.name_of("203.0.113.9".parse().unwrap()), None);
        assert!(is_stand_in("198.19.255.255".parse().unwrap()));
        assert!(!is_stand_in("fd00:c417:1::c612:100".parse().unwrap()));
    }

    #[test]
    fn a_replacement_goes_on_where_the_first_ended() {
        let names = Names::restored(vec![name("a.example"), name("b.example")], |_| true);
        assert_eq!(names.name_of("198.18.1.1".parse().unwrap()), Some(name("b.example")));
        let third = names.stand_in(&name("c.example"), true, || true).unwrap();
        assert_eq!(third.v4().to_string(), "198.18.1.2");
    }

    #[test]
    fn strange_names_have_a_quota_and_nothing_unwritten_is_given() {
        let names = Names::default();
        for number in 0..limits::STRANGE_NAMES {
            names.stand_in(&name(&format!("x{number}.evil.example")), false, || true).unwrap();
        }
        assert_eq!(names.stand_in(&name("one.more"), false, || true), Err(NoStandIn::Exhausted));
        assert!(names.stand_in(&name("allowed.example"), true, || true).is_ok());
        assert_eq!(names.stand_in(&name("other.example"), true, || false), Err(NoStandIn::NotWritten));
        assert_eq!(names.name_of("198.18.3.1".parse().unwrap()), None);
    }
}
