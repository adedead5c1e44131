//! The descriptors that a process of ours finds open at its start. The driver puts them there; the
//! supervisor and the proxy take them. Descriptors 0, 1 and 2 are `/dev/null`.

/// The supervisor's listening socket, `supervisor.sock`.
pub const SUPERVISOR_CONTROL: i32 = 3;
/// The main program's output is appended here, as session frames.
pub const SUPERVISOR_LOG: i32 = 4;
/// The supervisor's events are appended here, one JSON object a line.
pub const SUPERVISOR_EVENTS: i32 = 5;
/// The JSON of `Exit` is written here when the main program has ended.
pub const SUPERVISOR_EXIT: i32 = 6;

/// The proxy's listening socket, `proxy.sock`.
pub const PROXY_CONTROL: i32 = 3;
