//! What the first bytes of a connection are does not change with what follows.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chiton_proxy::fuzzing::client_hello(bytes));
