//! TLS: the authority of one sandbox, its leaves, and trust in upstream servers.
