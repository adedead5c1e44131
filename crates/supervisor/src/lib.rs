//! PID 1 of a sandbox: confines, launches, reaps, carries terminals.
