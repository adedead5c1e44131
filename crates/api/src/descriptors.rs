//! The descriptors that a process of ours finds open at its start. The driver puts them there; the
//! supervisor and the proxy take them. Descriptors 0, 1 and 2 are `/dev/null`.

/// A supervisor's link to who started it. Over it come, beside one byte: the listening socket `supervisor.sock`; the log,
/// to which the main program's output is appended as session frames; the file to which the supervisor's events are
/// appended, one JSON object a line; and the one into which the JSON of `Exit` is written when the main program has ended.
pub const SUPERVISOR_HAND_OVER: i32 = 3;

/// The proxy's listening socket, `proxy.sock`.
pub const PROXY_CONTROL: i32 = 3;
/// The proxy's end of a socket pair. Who started it, the gateway or a sidecar, holds the other end until the proxy is
/// configured: a proxy that still waits for its sandbox when nobody holds it ends.
pub const PROXY_GATEWAY: i32 = 4;
