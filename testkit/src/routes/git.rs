//! A Git server: the smart HTTP protocol, spoken by `git http-backend`.

use std::{path::PathBuf, process::Stdio};

use hyper::Response;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::server::{Answer, Received, answer, full};

/// Serves the bare repositories of a folder. `git -C REPO config http.receivepack true` allows pushes.
pub async fn answer_request(root: PathBuf, mut received: Received) -> Answer {
    let body = received.body().await;
    let mut body = body;
    if received.seen.header("content-encoding") == Some("gzip") {
        let mut plain = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&body[..]);
        std::io::Read::read_to_end(&mut decoder, &mut plain).expect("gzip");
        body = plain;
    }
    let query = received.seen.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("PATH_INFO", &received.path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &received.seen.method)
        .env("CONTENT_TYPE", received.seen.header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("GIT_PROTOCOL", received.seen.header("git-protocol").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        return answer(500, "text/plain", "git is not installed\n");
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    let writing = tokio::spawn(async move {
        let _ = stdin.write_all(&body).await;
    });
    let output = child.wait_with_output().await.expect("git http-backend");
    let _ = writing.await;
    from_cgi(&output.stdout)
}

fn from_cgi(output: &[u8]) -> Answer {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let head = String::from_utf8_lossy(&output[..end]);
    let mut builder = Response::builder();
    for line in head.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split_whitespace().next().and_then(|code| code.parse::<u16>().ok());
            builder = builder.status(code.unwrap_or(500));
        } else {
            builder = builder.header(name.trim(), value.trim());
        }
    }
    let body = output.get(end + 4..).unwrap_or_default().to_vec();
    builder.body(full(body)).expect("an answer")
}
