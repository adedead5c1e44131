//! Wire types of the HTTP API and of the control links between our processes.
