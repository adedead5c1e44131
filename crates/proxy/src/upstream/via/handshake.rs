//! One `CONNECT` and its answer.
//!
//! The answer's head is all that is read of it: bounded, and never passed on. What comes after it is the server's, or
//! nobody's (RFC 9110, 9.3.6): a body that the proxy announces is none, so bytes after such a head are refused.

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{Destination, Speaks, ViaError};
use crate::{
    http1::response::{ResponseError, ResponseHead, take_response_head},
    limits,
};

/// Asks for a tunnel. Returns what came of the server already.
pub(super) async fn ask(
    wire: &mut (impl AsyncRead + AsyncWrite + Unpin),
    to: &Destination,
    authorization: Option<&str>,
    speaks: Speaks,
) -> Result<Bytes, ViaError> {
    wire.write_all(request(to, authorization).as_bytes()).await?;
    wire.flush().await?;
    let mut input = BytesMut::with_capacity(1 << 10);
    let head = answer(wire, &mut input).await?;
    judge(&head, to, authorization.is_some())?;
    let announced = head.headers.contains_key(header::TRANSFER_ENCODING)
        || head.headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0");
    match speaks {
        Speaks::Client if !input.is_empty() => Err(ViaError::Extra),
        // A body that comes later would be taken for the server's.
        Speaks::Anyone if announced => Err(ViaError::Extra),
        Speaks::Client | Speaks::Anyone => Ok(input.freeze()),
    }
}

/// Holds the credential: wiped when it was sent.
fn request(to: &Destination, authorization: Option<&str>) -> Zeroizing<String> {
    let place = to.to_string();
    // Room for all of it at once, so that no copy of a part stays behind.
    let room = 2 * place.len() + authorization.map_or(0, str::len) + 80;
    let mut text = Zeroizing::new(String::with_capacity(room));
    for part in ["CONNECT ", &place, " HTTP/1.1\r\nHost: ", &place, "\r\n"] {
        text.push_str(part);
    }
    if let Some(authorization) = authorization {
        for part in ["Proxy-Authorization: ", authorization, "\r\n"] {
            text.push_str(part);
        }
    }
    text.push_str("\r\n");
    text
}

/// The final head, in at most [`limits::HEAD`] bytes with all that come before it.
async fn answer(wire: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> Result<ResponseHead, ViaError> {
    let (mut read, mut scanned) = (0, 0);
    loop {
        while let Some(head) = take_response_head(input, &mut scanned, true)? {
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(head);
            }
        }
        if read > limits::HEAD {
            return Err(ResponseError::TooLarge.into());
        }
        match wire.read_buf(input).await? {
            0 => return Err(ViaError::Closed),
            more => read += more,
        }
    }
}

fn judge(head: &ResponseHead, to: &Destination, authorized: bool) -> Result<(), ViaError> {
    let (status, to) = (head.status, to.clone());
    match status {
        status if status.is_success() => Ok(()),
        // Some say 401 of a password that is wrong.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED if authorized => {
            Err(ViaError::BadCredential(status))
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(ViaError::NoCredential(status)),
        status if status.is_server_error() => Err(ViaError::Failed { status, to }),
        status => Err(ViaError::Refused { status, to }),
    }
}

#[cfg(test)]
mod tests {
    use chiton_policy::Host;

    use super::*;

    async fn asked(answer: &[u8], speaks: Speaks) -> Result<Bytes, ViaError> {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(answer).await.unwrap();
        let proxy = async {
            let mut head = [0; 256];
            let _ = theirs.read(&mut head).await;
            theirs.shutdown().await.unwrap();
        };
        let to = Destination::Address("192.0.2.1:443".parse().unwrap());
        tokio::join!(ask(&mut ours, &to, None, speaks), proxy).0
    }

    #[test]
    fn what_is_asked() {
        let name = match Host::parse("api.test").unwrap() {
            Host::Name(name) => name,
            Host::Ip(_) => panic!("a name"),
        };
        assert_eq!(
            *request(&Destination::Name(name, 443), Some("Basic abc")),
            "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nProxy-Authorization: Basic abc\r\n\r\n"
        );
        let address = Destination::Address("[2001:db8::1]:80".parse().unwrap());
        assert_eq!(
            *request(&address, None),
            "CONNECT [2001:db8::1]:80 HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn every_answer_is_told_apart() {
        let told = async |answer: &str| asked(answer.as_bytes(), Speaks::Client).await;
        assert!(
            told("HTTP/1.0 200 Connection established\r\nproxy-agent: x\r\n\r\n").await.unwrap().is_empty()
        );
        assert!(
            told("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n").await.is_ok()
        );
        assert!(matches!(told("HTTP/1.1 407 No\r\n\r\nbody").await, Err(ViaError::NoCredential(_))));
        assert!(matches!(told("HTTP/1.1 403 No\r\n\r\nbody").await, Err(ViaError::Refused { .. })));
        assert!(matches!(
            told("HTTP/1.1 302 No\r\nlocation: x\r\n\r\n").await,
            Err(ViaError::Refused { .. })
        ));
        assert!(matches!(told("HTTP/1.1 101 No\r\n\r\n").await, Err(ViaError::Refused { .. })));
        assert!(matches!(told("HTTP/1.1 502 No\r\n\r\n").await, Err(ViaError::Failed { .. })));
        assert!(matches!(told("SSH-2.0-x\r\n").await, Err(ViaError::Answer(ResponseError::Malformed))));
        assert!(matches!(told("HTTP/1.1 200 OK\r\n").await, Err(ViaError::Closed)));
        assert!(matches!(told("").await, Err(ViaError::Closed)));
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(200 << 10));
        assert!(matches!(told(&endless).await, Err(ViaError::Answer(ResponseError::TooLarge))));
        let hints = "HTTP/1.1 103 Hints\r\n\r\n".repeat(10_000);
        assert!(matches!(told(&hints).await, Err(ViaError::Answer(ResponseError::TooLarge))));
    }

    #[tokio::test]
    async fn bytes_after_the_answer_are_the_servers_or_refused() {
        let early = b"HTTP/1.1 200 OK\r\n\r\n220 hello";
        assert_eq!(asked(early, Speaks::Anyone).await.unwrap(), "220 hello");
        assert!(matches!(asked(early, Speaks::Client).await, Err(ViaError::Extra)));
        for announced in ["content-length: 5", "transfer-encoding: chunked"] {
            let early = format!("HTTP/1.1 200 OK\r\n{announced}\r\n\r\nhello");
            assert!(matches!(asked(early.as_bytes(), Speaks::Anyone).await, Err(ViaError::Extra)));
        }
    }
}
