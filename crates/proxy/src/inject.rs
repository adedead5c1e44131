//! Credentials on their way: the agent's out, the backend's in, and never back.

use bytes::Bytes;
use chiton_llm::{
    Dialect, PreparedRequest, UsageChunkFilter, UsageReader,
    redact::{ACCEPT_ENCODING, ContentCoding, UnknownCoding},
};
use chiton_policy::{Denial, LlmGrant, Reason, RequestPermit};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    events::{Events, NotWritten},
    limits,
    message::{Request, RequestBody},
    revision::{Redactors, Revision},
    upstream::relay::Cleaner,
};

/// A request as it goes upstream.
pub(crate) struct Prepared {
    /// The method.
    pub(crate) method: Method,
    /// The fields; those of one hop are still there.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: RequestBody,
    /// Path and query.
    pub(crate) target: Bytes,
    /// What is to be done to the response.
    pub(crate) cleaning: Option<Cleaning>,
    /// The memory that a body read before it is sent takes; held until the response begins.
    pub(crate) room: Option<SemaphorePermit<'static>>,
}

/// Why a permitted request does not go upstream.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// By policy after all.
    Denied(Denial),
    /// Because it could not be written down.
    NotWritten(NotWritten),
    /// The agent did not send it whole.
    Aborted,
}

/// What is to be done to a response on a route.
#[derive(Debug)]
pub(crate) struct Cleaning {
    redactors: Redactors,
    dialect: Option<Dialect>,
    usage_added: bool,
}

/// Takes the agent's credentials out and puts the backend's in, where the permit is of a route.
pub(crate) async fn prepare(
    events: &Events,
    permit: &RequestPermit,
    revision: &Revision,
    request: Request,
) -> Result<Prepared, Refusal> {
    let Request { method, headers, body, .. } = request;
    let target = Bytes::copy_from_slice(permit.path_and_query().as_bytes());
    let mut prepared = Prepared { method, headers, body, target, cleaning: None, room: None };
    match permit.llm() {
        Some(grant) => route(events, permit, grant, revision, &mut prepared).await?,
        // Not supported yet, and such a policy is not loaded: if one were, the rule must not work without.
        None if permit.credential().is_some() => {
            return Err(unavailable(permit, "credentials on `http` rules are not supported yet"));
        }
        None => {}
    }
    Ok(prepared)
}

async fn route(
    events: &Events,
    permit: &RequestPermit,
    grant: LlmGrant<'_>,
    revision: &Revision,
    prepared: &mut Prepared,
) -> Result<(), Refusal> {
    let dialect = Dialect::of_provider(grant.provider().as_str());
    if grant.strip_caller_credentials() {
        chiton_llm::strip_headers(&mut prepared.headers);
        prepared.target = stripped_target(permit);
    }
    let mut redactors = Redactors::NONE;
    if let Some(reference) = grant.inject() {
        let (Some(dialect), Some(value)) = (dialect, revision.credential(reference, permit.host())) else {
            return Err(unavailable(
                permit,
                "the route's credential is not there, or is bound to other hosts",
            ));
        };
        if dialect.inject(&mut prepared.headers, value).is_err() {
            return Err(unavailable(permit, "the route's credential cannot stand in a header"));
        }
        events.injected(permit).map_err(Refusal::NotWritten)?;
        redactors = revision.redactors.clone();
    }
    // Only what can be undone is asked for, and always the whole: a value must not come back in two parts.
    let coded = prepared.headers.remove(header::ACCEPT_ENCODING).is_some();
    if coded {
        prepared.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPT_ENCODING));
    }
    prepared.headers.remove(header::RANGE);
    prepared.headers.remove(header::IF_RANGE);
    let usage_added = match dialect {
        Some(dialect) => ask_for_usage(dialect, permit, prepared).await?,
        None => false,
    };
    prepared.cleaning = Some(Cleaning { redactors, dialect, usage_added });
    Ok(())
}

fn stripped_target(permit: &RequestPermit) -> Bytes {
    let intent = permit.intent();
    let query = intent.query().map(chiton_llm::strip_query).unwrap_or_default();
    let target =
        if query.is_empty() { intent.path().to_owned() } else { format!("{}?{query}", intent.path()) };
    Bytes::from(target)
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

fn unavailable(permit: &RequestPermit, said: &str) -> Refusal {
    denied(permit, Reason::CredentialUnavailable, said)
}

fn denied(permit: &RequestPermit, reason: Reason, said: &str) -> Refusal {
    Refusal::Denied(Denial::after_permit(reason, permit.rule().cloned(), permit.intent(), said))
}

impl Cleaning {
    /// What has to be taken out of whatever comes back, where anything was put in.
    pub(crate) fn redactors(&self) -> Option<Redactors> {
        (!self.redactors.values.is_empty()).then(|| self.redactors.clone())
    }

    /// Cleans a response's head, and says how its body is to be cleaned.
    pub(crate) fn begin(self, headers: &mut HeaderMap) -> Result<Cleaner, UnknownCoding> {
        let coding = ContentCoding::of(headers)?;
        self.redactors.scrub_headers(headers);
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::ACCEPT_RANGES);
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let usage = self.dialect.map(|dialect| UsageReader::new(dialect, kind));
        let filter = self.usage_added.then(UsageChunkFilter::default);
        let scrubber = self.redactors.values.scrubber(coding).of_content_type(kind);
        Ok(Cleaner { scrubber, redactors: self.redactors, usage, filter })
    }
}
