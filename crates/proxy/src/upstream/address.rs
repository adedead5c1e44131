//! Which addresses an upstream name may have. The checked address is the one that is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of place an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A host on the public internet.
    Public,
    /// A private network: opened by `private_addresses`.
    Private,
    /// Loopback, link-local, metadata, or nowhere at all: opened by `allowed_addresses` only.
    Never,
}

/// Where an address leads, looking through every form that hides an IPv4 address.
pub(crate) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            // The form itself is unusual enough to be no public host's.
            Some(inside) => match reach_v4(inside) {
                Reach::Public if is_nat64(address) => Reach::Public,
                Reach::Public | Reach::Private => Reach::Private,
                Reach::Never => Reach::Never,
            },
            None => reach_v6(address),
        },
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        // This network, loopback, link-local with the metadata services, multicast and reserved, broadcast.
        (0 | 127 | 224..=255, ..) | (169, 254, ..) => Reach::Never,
        // Metadata services of Alibaba and Oracle, which live in otherwise ordinary ranges; Azure's wire server.
        (100, 100, 100, 200) | (192, 0, 0, 192) | (168, 63, 129, 16) => Reach::Never,
        // Benchmarks: our own stand-ins lie here.
        (198, 18 | 19, ..) => Reach::Never,
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => Reach::Private,
        // Carrier-grade NAT, protocol assignments, 6to4 relays.
        (100, 64..=127, ..) | (192, 0, 0, _) | (192, 88, 99, _) => Reach::Private,
        // Documentation: routed nowhere, so a name there means something local.
        (192, 0, 2, _) | (198, 51, 100, _) | (203, 0, 113, _) => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let [first, second, ..] = address.segments();
    match first {
        // Unspecified, loopback and what else has no prefix; link-local; multicast.
        0 | 0xfe80..=0xfebf | 0xff00..=0xffff => Reach::Never,
        // Metadata services of AWS (`fd00:ec2::254`) and Google (`fd20:ce::254`); our own stand-ins.
        0xfd00 if matches!(second, 0x0ec2 | 0xc417) => Reach::Never,
        0xfd20 if second == 0x00ce => Reach::Never,
        // Unique local, and the site-local prefix that went before.
        0xfc00..=0xfdff | 0xfec0..=0xfeff => Reach::Private,
        // Documentation, discard-only, Teredo and other special assignments.
        0x2001 if second < 0x0200 || second == 0x0db8 => Reach::Private,
        0x3fff if second < 0x1000 => Reach::Private,
        // All global unicast is in 2000::/3.
        0x2000..=0x3fff => Reach::Public,
        _ => Reach::Private,
    }
}

/// The IPv4 address in a mapped, compatible, translated, NAT64, 6to4 or ISATAP address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let join = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match (s0, s1, s2, s3, s4, s5) {
        // ::ffff:a.b.c.d, ::ffff:0:a.b.c.d
        (0, 0, 0, 0, 0, 0xffff) | (0, 0, 0, 0, 0xffff, 0) => join(s6, s7),
        // ::a.b.c.d, but neither :: nor ::1
        (0, 0, 0, 0, 0, 0) if s6 != 0 => join(s6, s7),
        // 64:ff9b::/96 and the local 64:ff9b:1::/48
        (0x64, 0xff9b, 0 | 1, ..) => join(s6, s7),
        (0x2002, high, low, ..) => join(high, low),
        // Teredo: the client's address, all bits turned.
        (0x2001, 0, ..) => join(!s6, !s7),
        (_, _, _, _, 0 | 0x0200, 0x5efe) => join(s6, s7),
        _ => None,
    }
}

fn is_nat64(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x64, 0xff9b, 0, 0, 0, 0, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(kind: Reach, addresses: &[&str]) {
        for address in addresses {
            assert_eq!(reach(address.parse().unwrap()), kind, "{address}");
        }
    }

    #[test]
    fn public_hosts() {
        all(
            Reach::Public,
            &["1.1.1.1", "140.82.121.6", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"],
        );
    }

    #[test]
    fn private_networks() {
        all(
            Reach::Private,
            &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "192.0.2.1"],
        );
        all(
            Reach::Private,
            &["fd12::1", "fec0::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1"],
        );
        all(Reach::Private, &["::ffff:1.1.1.1", "::1.1.1.1", "5f00::1"]);
    }

    #[test]
    fn never() {
        all(Reach::Never, &["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.8.8.8", "169.254.169.254", "224.0.0.1"]);
        all(
            Reach::Never,
            &["255.255.255.255", "100.100.100.200", "192.0.0.192", "198.18.1.0", "168.63.129.16"],
        );
        all(
            Reach::Never,
            &["::", "::1", "fe80::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254", "fd00:c417::1"],
        );
        all(Reach::Never, &["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1"]);
        all(Reach::Never, &["64:ff9b:1::a9fe:a9fe", "2002:7f00:1::", "::ffff:0:127.0.0.1"]);
        all(Reach::Never, &["2001:0:1:2:3:4:80ff:fffe", "fe80::5efe:7f00:1", "2a00::5efe:7f00:1"]);
    }
}
