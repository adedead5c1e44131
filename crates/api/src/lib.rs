//! Wire types: what travels between the command line and the gateway (`http`), and between the gateway's
//! drivers, the supervisor and the proxy (`control`). Types only; no I/O but the framing helpers.

pub mod control;
pub mod frame;
pub mod http;
