//! The descriptors that a process of ours finds open at its start. The driver puts them there; the
//! supervisor and the proxy take them. Descriptors 0, 1 and 2 are `/dev/null`.

/// The supervisor's listening socket, `supervisor.sock`.
pub const SUPERVISOR_CONTROL: i32 = 3;
/// The socket by which the supervisor gets its papers: one message of one byte, with the descriptors of the log (the
/// main program's output, as session frames), the event file (one JSON object a line) and the exit file (the JSON of
/// `Exit`). Until then it does nothing; when the other end is closed first, it ends.
pub const SUPERVISOR_PAPERS: i32 = 4;

/// The proxy's listening socket, `proxy.sock`.
pub const PROXY_CONTROL: i32 = 3;
