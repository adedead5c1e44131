//! Loopback, and the routes that make every address local to it.

use chiton_sys::{
    Errno,
    netlink::{Netlink, Subsystem},
};

use crate::capture::{
    CaptureError,
    message::{ACK, Body, CREATE, EXCLUSIVE, Messages},
    step,
};

const NEW_LINK: u16 = 16;
const NEW_ROUTE: u16 = 24;
/// Loopback is the first device of every network namespace.
const LOOPBACK: u32 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const TABLE_LOCAL: u8 = 255;
const PROTOCOL_STATIC: u8 = 4;
const TYPE_LOCAL: u8 = 2;
const SCOPE_HOST: u8 = 254;
const OUT_INTERFACE: u16 = 4;

/// Loopback up, every IPv4 address local, and every IPv6 address where there is IPv6.
pub(super) fn bring_up() -> Result<(), CaptureError> {
    let socket = Netlink::open(Subsystem::Route).map_err(step("opening a route socket"))?;
    let mut messages = Messages::default();
    messages.add(NEW_LINK, ACK, |body| {
        body.raw(&[0, 0, 0, 0]);
        body.raw(&LOOPBACK.to_ne_bytes());
        let up = 1_u32.to_ne_bytes();
        body.raw(&up);
        body.raw(&up);
    });
    messages.add(NEW_ROUTE, ACK | CREATE | EXCLUSIVE, |body| local_default(body, IPV4, SCOPE_HOST));
    messages.exchange(&socket).map_err(step("bringing loopback up"))?;

    let mut messages = Messages::default();
    messages.add(NEW_ROUTE, ACK | CREATE | EXCLUSIVE, |body| local_default(body, IPV6, 0));
    match messages.exchange(&socket) {
        // Without IPv6 there is no address to reach, and nothing to capture.
        Ok(()) | Err(Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::ACCESS | Errno::NODEV) => Ok(()),
        Err(source) => Err(step("routing IPv6 to loopback")(source)),
    }
}

fn local_default(body: &mut Body<'_>, family: u8, scope: u8) {
    body.raw(&[family, 0, 0, 0, TABLE_LOCAL, PROTOCOL_STATIC, scope, TYPE_LOCAL]);
    body.raw(&0_u32.to_ne_bytes());
    body.attribute(OUT_INTERFACE, &LOOPBACK.to_ne_bytes());
}
