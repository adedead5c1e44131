//! The head of an HTTP/1 response and its body are read alike in one piece and in many.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chiton_proxy::fuzzing::http1_response(bytes));
