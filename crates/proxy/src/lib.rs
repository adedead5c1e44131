//! The data plane of one sandbox: ends TLS, judges, injects, forwards, streams.
