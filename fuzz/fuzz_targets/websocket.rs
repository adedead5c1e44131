//! WebSocket frames are read alike however they come, and what is written is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chiton_proxy::fuzzing::websocket(bytes));
