//! What the proxy has to know of model providers, and how a credential is kept out of sight.
//!
//! [`Dialect`] is how a provider's API is spoken: where its credential goes ([`Dialect::inject`]), what a
//! request asks for ([`PreparedRequest`]), where a response tells its usage ([`UsageReader`]).
//! [`strip_headers`] and [`strip_query`] remove every credential that a caller may have sent;
//! [`redact`] takes injected values out of what comes back.

mod credential;
mod dialect;
mod json;
pub mod redact;
mod request;
mod sse;
mod usage;

pub use credential::{InjectError, inject_header, strip_headers, strip_query};
pub use dialect::Dialect;
pub use request::{PreparedRequest, RequestError};
pub use sse::UsageChunkFilter;
pub use usage::{Usage, UsageReader};
