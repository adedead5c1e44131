//! The types of the HTTP API, for the gateway that serves it and the command line that asks.
