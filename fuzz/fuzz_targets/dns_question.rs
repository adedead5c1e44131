//! Any bytes are answered with a message of the same number, not much longer, or not at all.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chiton_proxy::fuzzing::dns_question(bytes));
