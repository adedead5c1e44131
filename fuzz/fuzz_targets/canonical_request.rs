//! Any bytes are a canonical request or refused; the canonical form is its own canonical form, and holds
//! nothing that two servers read differently.
#![no_main]

use chiton_policy::{CompiledPolicy, IncomingRequest, Intent, Scheme, decide};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Four lines: method, target, authority, server name.
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (method, target, host, server_name) = (next(), next(), next(), next());
    let hosts = [host];
    let incoming = IncomingRequest {
        scheme: Scheme::Https,
        port: 443,
        server_name: std::str::from_utf8(server_name).ok().filter(|name| !name.is_empty()),
        authority: None,
        host_headers: &hosts,
        method,
        target,
        method_override: false,
        framing_conflict: false,
        binary: None,
    };
    let Ok(intent) = Intent::from_parts(&incoming) else { return };
    assert!(!decide(&CompiledPolicy::deny_all(), &intent).is_allowed());
    let path = intent.path();
    assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\\'));
    assert!(path.split('/').all(|segment| !matches!(segment, "." | "..")));
    assert!(intent.path_and_query().bytes().all(|byte| byte.is_ascii_graphic()));
    let authority = intent.authority();
    let again = IncomingRequest {
        server_name: None,
        host_headers: &[authority.as_bytes()],
        target: intent.path_and_query().as_bytes(),
        ..incoming
    };
    match Intent::from_parts(&again) {
        Ok(again) => assert!(again == intent, "not stable: {path}"),
        Err(error) => panic!("the canonical form is refused: {error}"),
    }
});
