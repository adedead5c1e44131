//! An npm registry with one small package for every name that is asked for, scoped names included.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use sha2::{Digest, Sha512};

use super::tar;
use crate::server::{Answer, Received, answer, json as json_answer};

const VERSION: &str = "1.0.0";

/// `/NAME` (as `@scope%2fname` for scoped ones) and `/NAME/-/FILE-1.0.0.tgz`; POSTs (audits) get `{}`.
pub async fn answer_request(received: Received) -> Answer {
    if received.seen.method != "GET" && received.seen.method != "HEAD" {
        return json_answer(200, &json!({}));
    }
    let path = received.path.replace("%2f", "/").replace("%2F", "/");
    let path = path.trim_start_matches('/');
    if let Some((name, _)) = path.split_once("/-/") {
        return answer(200, "application/octet-stream", package(name));
    }
    if path.is_empty() {
        return json_answer(404, &json!({ "error": "not found" }));
    }
    json_answer(200, &packument(path, &received.seen.host))
}

fn packument(name: &str, host: &str) -> serde_json::Value {
    let base = name.rsplit('/').next().unwrap_or(name);
    let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(package(name))));
    let tarball = format!("https://{host}/{name}/-/{base}-{VERSION}.tgz");
    json!({
        "name": name,
        "dist-tags": { "latest": VERSION },
        "versions": { VERSION: {
            "name": name,
            "version": VERSION,
            "main": "index.js",
            "dist": { "tarball": tarball, "integrity": integrity },
        }},
    })
}

fn package(name: &str) -> Vec<u8> {
    let manifest = json!({ "name": name, "version": VERSION, "main": "index.js" });
    tar::archive(&[
        ("package/package.json".to_owned(), manifest.to_string()),
        ("package/index.js".to_owned(), format!("module.exports = \"hello from {name}\";\n")),
    ])
}
