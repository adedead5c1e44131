//! Signature Version 4: what a request has to carry so that Amazon takes it as its caller's own.
//!
//! In comes a request as it will be sent; out come the fields, or the query, that sign it. What is signed is the method,
//! the host, the path, the query, the fields that are handed in, and the payload: by its hash, by the word that it is
//! not signed, or chunk by chunk ([`ChunkSigner`]).

mod canonical;
mod chunks;
mod claim;
mod resign;
mod scope;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use aws_lc_rs::{
    digest,
    hmac::{HMAC_SHA256, Key, sign as hmac_of},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use zeroize::Zeroizing;

use crate::Credentials;

pub use canonical::is_to_be_signed;
pub use chunks::ChunkSigner;
pub use claim::{Claim, without_signature};
pub use resign::{ChunkError, ChunkResigner};
pub use scope::{Scope, ScopeError};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const CHUNKS_AND_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_CHUNKS: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// A request as it will be sent.
#[derive(Clone, Copy, Debug)]
pub struct ToSign<'a> {
    /// GET, PUT, …
    pub method: &'a Method,
    /// As the `Host` field has it.
    pub host: &'a str,
    /// As on the wire, percent-encoded.
    pub path: &'a str,
    /// As on the wire, without the `?`.
    pub query: &'a str,
    /// The fields that are signed besides; what the signer sets itself is passed over.
    pub headers: &'a HeaderMap,
    /// What the body is.
    pub payload: Payload,
}

/// What is said of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Its SHA-256.
    Sha256([u8; 32]),
    /// Nothing. S3 takes it, over TLS.
    Unsigned,
    /// It is in chunks, each of which is signed.
    Chunks,
    /// As that, with fields after it, which are signed too.
    ChunksAndTrailer,
    /// It is in chunks that are not signed, with fields after it.
    UnsignedChunks,
}

impl Payload {
    /// A body that is at hand.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self::Sha256(sha256(body))
    }

    /// What `x-amz-content-sha256` says; none for what is not known here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            UNSIGNED => Some(Self::Unsigned),
            CHUNKS => Some(Self::Chunks),
            CHUNKS_AND_TRAILER => Some(Self::ChunksAndTrailer),
            UNSIGNED_CHUNKS => Some(Self::UnsignedChunks),
            hash => unhex(hash).map(Self::Sha256),
        }
    }

    /// As `x-amz-content-sha256` has it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Sha256(hash) => hex(hash),
            Self::Unsigned => UNSIGNED.to_owned(),
            Self::Chunks => CHUNKS.to_owned(),
            Self::ChunksAndTrailer => CHUNKS_AND_TRAILER.to_owned(),
            Self::UnsignedChunks => UNSIGNED_CHUNKS.to_owned(),
        }
    }
}

/// Why a request cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A part of the credentials has a letter that no field may have.
    #[error("the AWS credentials cannot stand in a header")]
    Credentials,
    /// The host has one.
    #[error("the host cannot stand in a header")]
    Host,
    /// The clock of this machine is far off.
    #[error("the time is out of what a signature can say")]
    Time,
}

/// Signs by one set of credentials, for one service in one region.
#[derive(Clone, Debug)]
pub struct Signer<'a> {
    credentials: &'a Credentials,
    scope: &'a Scope,
}

/// What signs a request: these fields replace those of the same names.
#[derive(Clone, Debug)]
pub struct Signed {
    /// What is to be set.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    chunks: ChunkSigner,
}

impl Signed {
    /// The signature, 64 hexadecimal digits.
    #[must_use]
    pub fn signature(&self) -> &str {
        self.chunks.last()
    }

    /// What signs the body's chunks.
    #[must_use]
    pub fn into_chunks(self) -> ChunkSigner {
        self.chunks
    }
}

impl<'a> Signer<'a> {
    /// With these.
    #[must_use]
    pub const fn new(credentials: &'a Credentials, scope: &'a Scope) -> Self {
        Self { credentials, scope }
    }

    /// What signs a request by its fields.
    ///
    /// # Errors
    /// When something cannot stand in a field.
    pub fn sign(&self, request: &ToSign<'_>, at: SystemTime) -> Result<Signed, SignError> {
        let moment = Moment::of(at)?;
        let mut own = vec![(DATE, plain(&moment.time)?)];
        if let Some(token) = &self.credentials.session_token {
            own.push((TOKEN, sensitive(token.dangerous_expose())?));
        }
        let hash = matches!(request.payload, Payload::Sha256(_));
        if self.scope.is_s3() || !hash || request.headers.contains_key(&CONTENT) {
            own.push((CONTENT, plain(&request.payload.text())?));
        }
        let fields = canonical::Fields::of(request, &own)?;
        let canonical = canonical::request(request, request.query, &fields, self.scope.is_s3());
        let chunks = self.signed(&moment, &canonical);
        let Credentials { access_key_id, .. } = self.credentials;
        let value = format!(
            "{ALGORITHM} Credential={access_key_id}/{}, SignedHeaders={}, Signature={}",
            chunks.scope(),
            fields.names(),
            chunks.last(),
        );
        own.push((header::AUTHORIZATION, sensitive(value.as_bytes())?));
        Ok(Signed { headers: own, chunks })
    }

    /// The query of a request that is signed by its query: the one that it has, without another's signature, and this one.
    ///
    /// # Errors
    /// When something cannot stand in a field.
    pub fn presign(
        &self,
        request: &ToSign<'_>,
        at: SystemTime,
        holds: Duration,
    ) -> Result<String, SignError> {
        let moment = Moment::of(at)?;
        let fields = canonical::Fields::of(request, &[])?;
        let mut query = without_signature(request.query);
        let mut add = |name: &str, value: &str| {
            let before = if query.is_empty() { "" } else { "&" };
            query.push_str(&format!("{before}{name}={}", canonical::encoded(value.as_bytes())));
        };
        let Credentials { access_key_id, session_token, .. } = self.credentials;
        add("X-Amz-Algorithm", ALGORITHM);
        add("X-Amz-Credential", &format!("{access_key_id}/{}", self.scope.on(&moment.date)));
        add("X-Amz-Date", &moment.time);
        add("X-Amz-Expires", &holds.as_secs().to_string());
        add("X-Amz-SignedHeaders", &fields.names());
        if let Some(token) = session_token {
            let token = std::str::from_utf8(token.dangerous_expose()).map_err(|_| SignError::Credentials)?;
            add("X-Amz-Security-Token", token);
        }
        let canonical = canonical::request(request, &query, &fields, self.scope.is_s3());
        let signed = self.signed(&moment, &canonical);
        query.push_str(&format!("&X-Amz-Signature={}", signed.last()));
        Ok(query)
    }

    fn signed(&self, moment: &Moment, canonical: &str) -> ChunkSigner {
        let scope = self.scope.on(&moment.date);
        let hash = hex(&sha256(canonical.as_bytes()));
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{hash}", moment.time);
        let key = self.key(&moment.date);
        let first = hex(hmac_of(&key, text.as_bytes()).as_ref());
        ChunkSigner::new(key, moment.time.clone(), scope, first)
    }

    fn key(&self, date: &str) -> Key {
        let secret = self.credentials.secret_access_key.dangerous_expose();
        let mut first = Zeroizing::new(Vec::with_capacity(secret.len() + 4));
        first.extend_from_slice(b"AWS4");
        first.extend_from_slice(secret);
        let mut key = Key::new(HMAC_SHA256, &first);
        for part in [date, self.scope.region(), self.scope.service(), "aws4_request"] {
            key = Key::new(HMAC_SHA256, hmac_of(&key, part.as_bytes()).as_ref());
        }
        key
    }
}

/// A time, as it is signed.
struct Moment {
    /// `20150830T123600Z`.
    time: String,
    /// `20150830`.
    date: String,
}

impl Moment {
    fn of(at: SystemTime) -> Result<Self, SignError> {
        let at = jiff::Timestamp::try_from(at).map_err(|_| SignError::Time)?;
        let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = time.get(..8).ok_or(SignError::Time)?.to_owned();
        Ok(Self { time, date })
    }
}

/// The SHA-256 of a text.
#[must_use]
pub fn sha256(text: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    hash
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn plain(text: &str) -> Result<HeaderValue, SignError> {
    HeaderValue::from_str(text).map_err(|_| SignError::Time)
}

fn sensitive(bytes: &[u8]) -> Result<HeaderValue, SignError> {
    let mut value = HeaderValue::from_bytes(bytes).map_err(|_| SignError::Credentials)?;
    value.set_sensitive(true);
    Ok(value)
}
