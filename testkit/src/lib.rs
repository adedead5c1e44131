//! Upstream servers for tests, and the probe that runs inside a sandbox.
