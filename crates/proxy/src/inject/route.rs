//! A call of an LLM route: its credential, and its usage.

use bytes::Bytes;
use chiton_llm::{Dialect, PreparedRequest};
use chiton_policy::{LlmGrant, Reason, RequestPermit};
use http::{HeaderMap, Method, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Cleaning, Prepared, Refusal, ask_for_readable, denied, unavailable};
use crate::{
    events::Events,
    judge::SentTarget,
    limits,
    message::RequestBody,
    revision::{NoCredential, Redactors, Revision},
};

pub(super) async fn prepare(
    events: &Events,
    permit: &RequestPermit,
    grant: LlmGrant<'_>,
    revision: &Revision,
    prepared: &mut Prepared,
) -> Result<(), Refusal> {
    let dialect = Dialect::of_provider(grant.provider().as_str());
    if grant.strip_caller_credentials() {
        chiton_llm::strip_headers(&mut prepared.headers);
        prepared.target = SentTarget::stripped(permit.intent(), None);
    }
    if let Some(reference) = grant.inject() {
        let value = revision.usable(reference, permit.host());
        let value = value.map_err(|none| unavailable(permit, none.said(false)))?;
        let dialect = dialect.ok_or_else(|| unavailable(permit, NoCredential::NotFor.said(false)))?;
        if dialect.inject(&mut prepared.headers, value).is_err() {
            return Err(unavailable(permit, "the route's credential cannot stand in a header"));
        }
        events.injected(permit).map_err(Refusal::NotWritten)?;
    }
    ask_for_readable(&mut prepared.headers);
    let usage_added = match dialect {
        Some(dialect) => ask_for_usage(dialect, permit, prepared).await?,
        None => false,
    };
    prepared.cleaning = Some(Cleaning { redactors: Redactors::NONE, dialect, usage_added });
    Ok(())
}

/// Reads a model call's JSON, which is small, and asks for the usage of a stream. Everything else flows by.
async fn ask_for_usage(
    dialect: Dialect,
    permit: &RequestPermit,
    prepared: &mut Prepared,
) -> Result<bool, Refusal> {
    let path = permit.intent().path();
    if !is_json(&prepared.headers) || !path.ends_with("/completions") || prepared.method != Method::POST {
        return Ok(false);
    }
    let room = room_for(&prepared.body).await;
    let body = std::mem::replace(&mut prepared.body, RequestBody::Empty);
    let whole = match Limited::new(body, limits::MODEL_CALL).collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let said = "the body of the model call is over 32 MiB";
            return Err(denied(permit, Reason::LimitExceeded, said));
        }
        Err(_) => return Err(Refusal::Aborted),
    };
    // What is coded or no JSON after all is the provider's to refuse.
    let (sent, added) = match PreparedRequest::new(dialect, path, &whole) {
        Ok(read) if read.usage_added => (Bytes::from(read.body.into_owned()), true),
        Ok(_) => (whole.clone(), false),
        Err(chiton_llm::RequestError::NotAnObject(_)) => (whole.clone(), false),
        Err(error) => return Err(denied(permit, Reason::AmbiguousRequest, &error.to_string())),
    };
    prepared.body = RequestBody::Whole(Some(sent));
    prepared.room = room;
    Ok(added)
}

/// Waits until a body of this length, or of any where it is not told, may be held.
async fn room_for(body: &RequestBody) -> Option<SemaphorePermit<'static>> {
    static ROOM: Semaphore = Semaphore::const_new(limits::MODEL_CALLS >> 10);
    let length = body.size_hint().upper().and_then(|length| usize::try_from(length).ok());
    let length = length.unwrap_or(limits::MODEL_CALL).min(limits::MODEL_CALL);
    ROOM.acquire_many(u32::try_from(length >> 10).unwrap_or(u32::MAX)).await.ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") && !headers.contains_key(header::CONTENT_ENCODING)
}
