//! Amazon's own ways: Signature Version 4, and the credentials that it takes.
//!
//! [`Signer`] says what a request has to carry to be taken as that of its [`Credentials`]. It sends nothing, and keeps
//! nothing but the keys.

mod credentials;
mod sign;

pub use credentials::{Credentials, NoCredentials};
pub use sign::{
    ChunkError, ChunkResigner, ChunkSigner, Claim, Payload, Scope, ScopeError, SignError, Signed, Signer,
    ToSign, is_to_be_signed, sha256, without_signature,
};
