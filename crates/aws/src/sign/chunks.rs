//! A body in chunks, each signed with what was signed before it.
//!
//! On the wire: `SIZE;chunk-signature=SIGNATURE\r\n`, the chunk, `\r\n`; the last one is empty. A signature has always
//! 64 digits, so that a body that is signed anew in the same chunks is as long as it was.

use std::fmt;

use aws_lc_rs::hmac::{Key, sign};

use super::{hex, sha256};

/// Signs chunks, in their order.
#[derive(Clone)]
pub struct ChunkSigner {
    key: Key,
    time: String,
    scope: String,
    last: String,
}

impl fmt::Debug for ChunkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkSigner").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl ChunkSigner {
    pub(super) const fn new(key: Key, time: String, scope: String, first: String) -> Self {
        Self { key, time, scope, last: first }
    }

    pub(super) fn last(&self) -> &str {
        &self.last
    }

    pub(super) fn scope(&self) -> &str {
        &self.scope
    }

    /// The signature of the next chunk, by its SHA-256; the last chunk is empty.
    pub fn chunk(&mut self, hash: [u8; 32]) -> &str {
        let (empty, hash) = (hex(&sha256(b"")), hex(&hash));
        self.next("AWS4-HMAC-SHA256-PAYLOAD", &format!("{empty}\n{hash}"))
    }

    /// What `x-amz-trailer-signature` says of the fields after the last chunk: each as `name:value\n`.
    pub fn trailer(&mut self, fields: &str) -> &str {
        let hash = hex(&sha256(fields.as_bytes()));
        self.next("AWS4-HMAC-SHA256-TRAILER", &hash)
    }

    fn next(&mut self, kind: &str, rest: &str) -> &str {
        let text = format!("{kind}\n{}\n{}\n{}\n{rest}", self.time, self.scope, self.last);
        self.last = hex(sign(&self.key, text.as_bytes()).as_ref());
        &self.last
    }
}
