//! The packet filter: one table, three chains, one transaction.
//!
//! The first chain turns TCP and DNS to the listeners and leaves loopback alone; the second passes what is for
//! loopback and the answers of what was turned, and logs and drops all else. The third marks connections that arrive
//! at the listener with their own end as the agent has it: two with one end, to different places, would be the same
//! connection once they are turned, so the kernel gives the second one another end.

use chiton_sys::{
    netlink::{Netlink, Subsystem},
    socket::OWN_END,
};

use crate::capture::{
    CaptureError, LOG_GROUP, Ports,
    message::{ACK, APPEND, Body, CREATE, Messages},
    step,
};

const TABLE: &str = "chiton";
const TURN: Chain = Chain { name: "turn", kind: "nat", hook: LOCAL_OUT, priority: -100, policy: ACCEPT };
const DROP: Chain = Chain { name: "drop", kind: "filter", hook: LOCAL_OUT, priority: 0, policy: 0 };
/// Behind all changes of addresses.
const MARK: Chain = Chain { name: "mark", kind: "filter", hook: LOCAL_IN, priority: 300, policy: ACCEPT };

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const INET: u8 = 1;
const LOCAL_IN: u32 = 1;
const LOCAL_OUT: u32 = 3;
const ACCEPT: u32 = 1;

const IPV4: &[u8] = &[2];
const IPV6: &[u8] = &[10];
const TCP: &[u8] = &[6];
const UDP: &[u8] = &[17];
const PORT_53: &[u8] = &[0, 53];
/// Connections whose destination was changed.
const TURNED: [u8; 4] = 0x20_u32.to_ne_bytes();
/// Connections whose source was changed.
const OTHER_END: [u8; 4] = 0x10_u32.to_ne_bytes();

/// Rules in their order, and where packets come to them.
#[derive(Clone, Copy)]
struct Chain {
    name: &'static str,
    kind: &'static str,
    hook: u32,
    priority: i32,
    policy: u32,
}

/// A comparison of something with a value.
#[derive(Clone, Copy)]
enum Is<'a> {
    /// Network protocol.
    Family(&'a [u8]),
    /// Transport protocol.
    Transport(&'a [u8]),
    /// First bytes of the destination: offset in the header, and the bytes.
    Destination(u32, &'a [u8]),
    /// Destination port.
    Port(&'a [u8]),
    /// An answer on a connection that was turned.
    AnswerOfTurned,
    /// On a connection whose source nobody changed.
    OwnEnd,
}

/// What a rule does.
#[derive(Clone, Copy)]
enum Do {
    Accept,
    Turn(u16),
    Log,
    Mark(u32),
}

/// Programs the filter of this network namespace.
pub(super) fn program(ports: Ports) -> Result<(), CaptureError> {
    let mut loopback6 = [0; 16];
    if let Some(last) = loopback6.last_mut() {
        *last = 1;
    }
    let to_loopback = [Is::Family(IPV4), Is::Destination(16, &[127])];
    let to_loopback6 = [Is::Family(IPV6), Is::Destination(24, &loopback6)];

    let mut batch = Messages::default();
    batch.add(BATCH_BEGIN, 0, |body| body.raw(&[0, 0, 0, 10]));
    batch.add(NEW_TABLE, CREATE, |body| {
        header(body);
        body.string(1, TABLE);
    });
    for one in [TURN, DROP, MARK] {
        chain(&mut batch, one);
    }
    rule(&mut batch, TURN, &to_loopback, Do::Accept);
    rule(&mut batch, TURN, &to_loopback6, Do::Accept);
    rule(&mut batch, TURN, &[Is::Transport(TCP), Is::Port(PORT_53)], Do::Turn(ports.dns_tcp));
    rule(&mut batch, TURN, &[Is::Transport(TCP)], Do::Turn(ports.tcp));
    rule(&mut batch, TURN, &[Is::Transport(UDP), Is::Port(PORT_53)], Do::Turn(ports.dns_udp));
    rule(&mut batch, DROP, &to_loopback, Do::Accept);
    rule(&mut batch, DROP, &to_loopback6, Do::Accept);
    rule(&mut batch, DROP, &[Is::AnswerOfTurned], Do::Accept);
    rule(&mut batch, DROP, &[], Do::Log);
    let port = ports.tcp.to_be_bytes();
    // A socket can bring a mark along.
    rule(&mut batch, MARK, &[Is::Transport(TCP), Is::Port(&port)], Do::Mark(0));
    rule(&mut batch, MARK, &[Is::Transport(TCP), Is::Port(&port), Is::OwnEnd], Do::Mark(OWN_END));
    let last_rule = batch.last();
    batch.add(BATCH_END, 0, |body| body.raw(&[0, 0, 0, 10]));

    let socket = Netlink::open(Subsystem::Netfilter).map_err(step("opening a packet filter socket"))?;
    batch.exchange_until(&socket, last_rule).map_err(step("programming the packet filter"))
}

fn header(body: &mut Body<'_>) {
    body.raw(&[INET, 0, 0, 0]);
}

fn chain(batch: &mut Messages, chain: Chain) {
    batch.add(NEW_CHAIN, CREATE, |body| {
        header(body);
        body.string(1, TABLE);
        body.string(3, chain.name);
        body.nested(4, |hook| {
            hook.number(1, chain.hook);
            hook.number(2, chain.priority.cast_unsigned());
        });
        body.number(5, chain.policy);
        body.string(7, chain.kind);
    });
}

fn rule(batch: &mut Messages, chain: Chain, when: &[Is<'_>], then: Do) {
    batch.add(NEW_RULE, ACK | CREATE | APPEND, |body| {
        header(body);
        body.string(1, TABLE);
        body.string(2, chain.name);
        body.nested(4, |list| {
            for is in when {
                compare(list, *is);
            }
            act(list, then);
        });
    });
}

fn compare(list: &mut Body<'_>, is: Is<'_>) {
    match is {
        Is::Family(value) => {
            meta(list, 15);
            equals(list, value);
        }
        Is::Transport(value) => {
            meta(list, 16);
            equals(list, value);
        }
        Is::Destination(offset, value) => {
            payload(list, 1, offset, value);
            equals(list, value);
        }
        Is::Port(value) => {
            payload(list, 2, 2, value);
            equals(list, value);
        }
        Is::AnswerOfTurned => {
            track(list, 1);
            equals(list, &[1]);
            track(list, 2);
            masked(list, &TURNED);
            equals(list, &TURNED);
        }
        Is::OwnEnd => {
            track(list, 2);
            masked(list, &OTHER_END);
            equals(list, &[0; 4]);
        }
    }
}

fn act(list: &mut Body<'_>, then: Do) {
    match then {
        Do::Accept => expression(list, "immediate", |data| {
            data.number(1, 0);
            data.nested(2, |value| value.nested(2, |verdict| verdict.number(1, ACCEPT)));
        }),
        Do::Turn(port) => {
            expression(list, "immediate", |data| {
                data.number(1, 1);
                data.nested(2, |value| value.attribute(1, &port.to_be_bytes()));
            });
            expression(list, "redir", |data| data.number(1, 1));
        }
        Do::Mark(mark) => {
            expression(list, "immediate", |data| {
                data.number(1, 1);
                data.nested(2, |value| value.attribute(1, &mark.to_ne_bytes()));
            });
            expression(list, "meta", |data| {
                data.number(2, 3);
                data.number(3, 1);
            });
        }
        Do::Log => {
            // 20 a second, at most 50 at once.
            expression(list, "limit", |data| {
                data.attribute(1, &20_u64.to_be_bytes());
                data.attribute(2, &1_u64.to_be_bytes());
                data.number(3, 50);
                data.number(4, 0);
            });
            expression(list, "log", |data| {
                data.attribute(1, &LOG_GROUP.to_be_bytes());
                data.number(3, 128);
                data.attribute(4, &1_u16.to_be_bytes());
            });
        }
    }
}

fn expression(list: &mut Body<'_>, name: &str, fill: impl FnOnce(&mut Body<'_>)) {
    list.nested(1, |element| {
        element.string(1, name);
        element.nested(2, fill);
    });
}

fn meta(list: &mut Body<'_>, key: u32) {
    expression(list, "meta", |data| {
        data.number(1, 1);
        data.number(2, key);
    });
}

fn payload(list: &mut Body<'_>, base: u32, offset: u32, value: &[u8]) {
    expression(list, "payload", |data| {
        data.number(1, 1);
        data.number(2, base);
        data.number(3, offset);
        data.number(4, u32::try_from(value.len()).unwrap_or(u32::MAX));
    });
}

fn track(list: &mut Body<'_>, key: u32) {
    expression(list, "ct", |data| {
        data.number(1, 1);
        data.number(2, key);
    });
}

fn masked(list: &mut Body<'_>, mask: &[u8; 4]) {
    expression(list, "bitwise", |data| {
        data.number(1, 1);
        data.number(2, 1);
        data.number(3, 4);
        data.nested(4, |value| value.attribute(1, mask));
        data.nested(5, |value| value.attribute(1, &[0; 4]));
    });
}

fn equals(list: &mut Body<'_>, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.number(1, 1);
        data.number(2, 0);
        data.nested(3, |nested| nested.attribute(1, value));
    });
}
