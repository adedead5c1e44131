//! Wire types: what travels between the command line and the gateway (`http`), and between the gateway's
//! drivers, the supervisor and the proxy (`control`). Types only; no I/O but the framing helpers
//! and the resolution of our own folders (`paths`), which both ends must do alike.

pub mod control;
pub mod descriptors;
pub mod forward;
pub mod frame;
pub mod http;
pub mod name;
pub mod ordered;
pub mod owner;
pub mod paths;
