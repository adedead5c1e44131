//! What the proxy has to know of model providers, and how a credential is kept out of sight.
//!
//! Providers are data, in chiton-policy's table; here is what reads it: where a credential goes ([`inject`]), what a
//! request asks for ([`PreparedRequest`]), what it costs at most ([`Bound`], [`Prices`]), where a response tells its
//! usage ([`UsageReader`]).
//! [`strip_headers`] and [`strip_query`] remove every credential that a caller may have sent;
//! [`redact`] takes injected values out of what comes back; [`translate`] puts calls of one API into another's words.

mod bound;
mod credential;
mod eventstream;
mod json;
mod price;
pub mod redact;
mod request;
mod sse;
pub mod translate;
mod usage;

pub use bound::{Bound, BoundError, Windows};
pub use credential::{InjectError, inject, inject_header, strip_headers, strip_query};
pub use price::{BadName, Cost, PerMillion, Price, PriceRows, Prices};
pub use request::{Asked, PreparedRequest, RequestError};
pub use sse::UsageChunkFilter;
pub use usage::{Progress, Usage, UsageReader};
