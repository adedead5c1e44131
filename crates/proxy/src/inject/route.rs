//! A call of an LLM route: its credential, and its usage.

use std::borrow::Cow;

use bytes::Bytes;
use chiton_aws::Claim;
use chiton_llm::{Asked, PreparedRequest};
use chiton_policy::{Denial, LlmGrant, Reason, RequestPermit, Spends};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Before, Cleaning, Prepared, Refusal, ask_for_readable, aws, denied, translate, unavailable};
use crate::{judge::SentTarget, limits, message::RequestBody, revision::Revision, spend::Call};

pub(super) async fn prepare(
    Before { events, spend }: Before<'_>,
    permit: &RequestPermit,
    grant: LlmGrant<'_>,
    revision: &Revision,
    prepared: &mut Prepared,
) -> Result<(), Refusal> {
    let facts = grant.backend_facts();
    // Whoever signs says for whom, before that is taken out.
    let claim = facts
        .key_signs
        .and_then(|_| Claim::of(&prepared.headers, permit.target().query().unwrap_or_default()));
    if grant.strip_caller_credentials() {
        chiton_llm::strip_headers(&mut prepared.headers);
        prepared.target = SentTarget::stripped(permit.target(), None);
    }
    if let Some(kind) = grant.facts().body_type
        && !prepared.headers.contains_key(header::CONTENT_TYPE)
    {
        prepared.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    // A call that is refused for its model is given nothing.
    let ReadCall { usage_added, models, is_json } = read_call(grant, permit, prepared).await?;
    let translation = translate::request(grant, permit, prepared, usage_added)?;
    let value = grant.inject().map(|reference| revision.usable(reference, permit.host())).transpose();
    let value = value.map_err(|none| unavailable(permit, none.said(false)))?;
    // Whatever is refused later gives back what is set aside here.
    let body = prepared.body.whole().filter(|_| is_json);
    let tier = facts.dialect.tier_fields.iter().copied().find(|name| prepared.headers.contains_key(*name));
    prepared.charge = spend.charge(permit, grant, &Call { models: &models, body, tier })?.map(Box::new);
    if let Some(value) = value {
        match facts.key_signs {
            Some(signs) if !aws::is_bearer(value) => {
                aws::sign_call(permit, signs, claim, value, prepared).await?;
            }
            Some(_) | None if chiton_llm::inject(facts, &mut prepared.headers, value).is_err() => {
                return Err(unavailable(permit, "the route's credential cannot stand in a header"));
            }
            Some(_) | None => {}
        }
        events.injected(permit).map_err(Refusal::NotWritten)?;
    }
    ask_for_readable(&mut prepared.headers, false);
    let dialect = Some(facts.dialect);
    let usage_added = usage_added && translation.is_none();
    prepared.cleaning = Some(Cleaning { dialect, usage_added, translation, ..Cleaning::NONE });
    Ok(())
}

/// What is known of a call's body.
#[derive(Default)]
struct ReadCall {
    /// Whether we ask for the usage of its stream.
    usage_added: bool,
    /// The models that it names.
    models: Vec<String>,
    /// It was read, and is JSON.
    is_json: bool,
}

/// Reads a model call's JSON, which is small, where something in it is to be judged or changed. Everything else flows by.
async fn read_call(
    grant: LlmGrant<'_>,
    permit: &RequestPermit,
    prepared: &mut Prepared,
) -> Result<ReadCall, Refusal> {
    let (route, endpoint) = (grant.route(), grant.endpoint());
    let untold = || Err(Refusal::Denied(Denial::of_model(None, route.name.clone(), permit.intent())));
    let limited = route.limits.of_spending() && !matches!(endpoint.spends, Spends::Nothing);
    let reads = endpoint.asks_usage || route.models.is_some() || !route.model_alias.is_empty() || limited;
    let reads = reads || grant.translated().is_some();
    if !reads || !endpoint.calls_model() || prepared.method != Method::POST {
        return Ok(ReadCall::default());
    }
    if route.models.is_some() && !is_one_text(&prepared.headers) {
        return untold();
    }
    if !is_json(&prepared.headers) || limited && !is_one_text(&prepared.headers) {
        return if route.models.is_some() { untold() } else { Ok(ReadCall::default()) };
    }
    let body = std::mem::replace(&mut prepared.body, RequestBody::Empty);
    let (whole, room) = read_whole(permit, body).await?;
    let asked = Asked { facts: grant.facts(), endpoint, route };
    let mut known = ReadCall::default();
    let sent = match PreparedRequest::new(asked, &whole) {
        Ok(read) => {
            judge_models(grant, permit, &read)?;
            known = ReadCall { usage_added: read.usage_added, models: read.models, is_json: true };
            match read.body {
                Cow::Owned(changed) => Some(Bytes::from(changed)),
                Cow::Borrowed(_) => None,
            }
        }
        // What is coded or no JSON after all is the provider's to refuse, where nothing depends on it.
        Err(chiton_llm::RequestError::NotAnObject(_)) if route.models.is_none() => None,
        Err(chiton_llm::RequestError::NotAnObject(_)) => return untold(),
        Err(error) => return Err(denied(permit, Reason::AmbiguousRequest, &error.to_string())),
    };
    prepared.body = RequestBody::Whole(Some(sent.unwrap_or(whole)));
    prepared.room = room;
    Ok(known)
}

/// The whole body of a call, and the memory that it takes: none where it was read before.
pub(crate) async fn read_whole(
    permit: &RequestPermit,
    body: RequestBody,
) -> Result<(Bytes, Option<SemaphorePermit<'static>>), Refusal> {
    if let RequestBody::Whole(bytes) = body {
        return Ok((bytes.unwrap_or_default(), None));
    }
    let room = room_for(&body).await;
    match Limited::new(body, limits::MODEL_CALL).collect().await {
        Ok(whole) => {
            let whole = whole.to_bytes();
            // Where no length was told there was room for the longest, which others wait for.
            let room = room.and_then(|mut room| room.split(whole.len() >> 10));
            Ok((whole, room))
        }
        Err(error) if error.is::<LengthLimitError>() => {
            let said = "a body that is read before it is sent is over 32 MiB";
            Err(denied(permit, Reason::LimitExceeded, said))
        }
        Err(_) => Err(Refusal::Aborted),
    }
}

/// Every model that a call names has to be one of the route's, and it has to name one.
fn judge_models(
    grant: LlmGrant<'_>,
    permit: &RequestPermit,
    read: &PreparedRequest<'_>,
) -> Result<(), Refusal> {
    let route = grant.route();
    if route.models.is_none() {
        return Ok(());
    }
    let refused = |model| Err(Refusal::Denied(Denial::of_model(model, route.name.clone(), permit.intent())));
    if let Some(other) = read.models.iter().find(|model| !route.allows_model(model)) {
        return refused(Some(other.as_str()));
    }
    let named = read.names_model || grant.endpoint().model_in_path();
    if !named || read.hidden.is_some() { refused(None) } else { Ok(()) }
}

/// Waits until a body of this length, or of any where it is not told, may be held.
async fn room_for(body: &RequestBody) -> Option<SemaphorePermit<'static>> {
    static ROOM: Semaphore = Semaphore::const_new(limits::MODEL_CALLS >> 10);
    let length = body.size_hint().upper().and_then(|length| usize::try_from(length).ok());
    let length = length.unwrap_or(limits::MODEL_CALL).min(limits::MODEL_CALL);
    ROOM.acquire_many(u32::try_from(length >> 10).unwrap_or(u32::MAX)).await.ok()
}

/// Whether the body's type is said once, and in no charset but the one that JSON is read in.
pub(super) fn is_one_text(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next().and_then(|kind| kind.to_str().ok()), kinds.next()) else {
        return false;
    };
    kind.split(';').skip(1).all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let charset = name.trim().eq_ignore_ascii_case("charset");
        !charset || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") && !headers.contains_key(header::CONTENT_ENCODING)
}
