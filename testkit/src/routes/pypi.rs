//! A Python package index with one small wheel for every project that is asked for.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::zip;
use crate::server::{Answer, Received, answer};

const VERSION: &str = "1.0.0";

/// `/simple/NAME/` and `/packages/NAME-1.0.0-py3-none-any.whl`, both on the host that was asked.
pub async fn answer_request(received: Received) -> Answer {
    if let Some(name) = received.path.strip_prefix("/simple/") {
        let name = name.trim_end_matches('/').replace('-', "_");
        let file = wheel_name(&name);
        let digest = hex(&Sha256::digest(wheel(&name)));
        let page = format!(
            "<!DOCTYPE html><html><body><a href=\"/packages/{file}#sha256={digest}\">{file}</a></body></html>"
        );
        return answer(200, "text/html", page);
    }
    let file = received.path.strip_prefix("/packages/").unwrap_or_default();
    match file.strip_suffix(&format!("-{VERSION}-py3-none-any.whl")) {
        Some(name) => answer(200, "application/octet-stream", wheel(name)),
        None => answer(404, "text/plain", "no such file\n"),
    }
}

fn wheel_name(name: &str) -> String {
    format!("{name}-{VERSION}-py3-none-any.whl")
}

fn wheel(name: &str) -> Vec<u8> {
    let info = format!("{name}-{VERSION}.dist-info");
    let mut files = vec![
        (format!("{name}/__init__.py"), format!("GREETING = \"hello from {name}\"\n")),
        (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: {VERSION}\n")),
        (
            format!("{info}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: testkit\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned(),
        ),
    ];
    let record = files.iter().map(|(path, text)| {
        format!("{path},sha256={},{}\n", URL_SAFE_NO_PAD.encode(Sha256::digest(text)), text.len())
    });
    let record = record.collect::<String>() + &format!("{info}/RECORD,,\n");
    files.push((format!("{info}/RECORD"), record));
    zip::archive(&files)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
