//! Requests to Amazon: the agent's signature, made with a placeholder, goes, and one by the rule's or the route's key
//! comes.
//!
//! What is signed is what is sent: the judged method, host and path, the query without the agent's signature, the fields
//! that Amazon wants signed, and the body by what the agent says of it, which Amazon verifies. For which service and
//! region is what the agent's signature says: its own program knows. A route knows the service, and its backend's host
//! tells the region.

use std::time::{Duration, SystemTime};

use chiton_aws::{
    ChunkResigner, Claim, Credentials, Payload, Scope, Signer, ToSign, is_to_be_signed, without_signature,
};
use chiton_policy::{Reason, RequestPermit, Signs};
use chiton_secret::SecretValue;
use http::HeaderMap;

use super::{Prepared, Refusal, denied, route::read_whole, unavailable};
use crate::{
    judge::SentTarget,
    message::{RequestBody, SignedBody},
};

const CONTENT: &str = "x-amz-content-sha256";
/// A signature in a query holds for no longer.
const LONGEST: u64 = 7 * 24 * 3600;

pub(super) async fn sign(
    permit: &RequestPermit,
    value: &SecretValue,
    prepared: &mut Prepared,
) -> Result<(), Refusal> {
    let key = Credentials::parse(value);
    let key =
        key.map_err(|none| unavailable(permit, &format!("the rule's credential is no AWS key: {none}")))?;
    let query = permit.intent().query().unwrap_or_default();
    let Some(claim) = Claim::of(&prepared.headers, query) else {
        let said = "the request is not signed for AWS in one way, so that nothing tells its service and region; \
                    sign it with the placeholder keys of the environment";
        return Err(unavailable(permit, said));
    };
    let expires = claim.in_query.then(|| expires(permit, query)).transpose()?;
    let payload = payload(permit, &claim, prepared).await?;
    chiton_llm::strip_headers(&mut prepared.headers);
    let query = without_signature(&chiton_llm::strip_query(query, None));
    let mut headers = HeaderMap::new();
    for (name, field) in prepared.headers.iter().filter(|(name, _)| is_to_be_signed(name)) {
        headers.append(name, field.clone());
    }
    let path = permit.intent().path();
    let (method, authority) = (&prepared.method, permit.authority());
    let request = ToSign { method, host: &authority, path, query: &query, headers: &headers, payload };
    let signer = Signer::new(&key, &claim.scope);
    let unfit = |error: chiton_aws::SignError| unavailable(permit, &error.to_string());
    let now = SystemTime::now();
    if let Some(holds) = expires {
        let query = signer.presign(&request, now, holds).map_err(unfit)?;
        prepared.target = SentTarget::with_query(path, &query);
        return Ok(());
    }
    let signed = signer.sign(&request, now).map_err(unfit)?;
    prepared.target = SentTarget::with_query(path, &query);
    for (name, field) in &signed.headers {
        prepared.headers.insert(name, field.clone());
    }
    if matches!(payload, Payload::Chunks | Payload::ChunksAndTrailer) {
        let body = std::mem::replace(&mut prepared.body, RequestBody::Empty);
        let resigner = ChunkResigner::new(signed.into_chunks(), payload == Payload::ChunksAndTrailer);
        prepared.body = RequestBody::Signed(Box::new(SignedBody::new(body, resigner)));
    }
    Ok(())
}

/// Whether a value is a key of its own that goes in a header, and no AWS key: those have a `:` or are JSON, whole or not.
pub(super) fn is_bearer(value: &SecretValue) -> bool {
    let bytes = value.dangerous_expose();
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte))
}

/// Signs a call of a route, whose body is read for that.
pub(super) async fn sign_call(
    permit: &RequestPermit,
    signs: &Signs,
    claim: Option<Claim>,
    value: &SecretValue,
    prepared: &mut Prepared,
) -> Result<(), Refusal> {
    let key = Credentials::parse(value);
    let key =
        key.map_err(|none| unavailable(permit, &format!("the route's credential is no AWS key: {none}")))?;
    let region = signs.region_of(permit.host()).map(str::to_owned);
    let region = region.or_else(|| claim.map(|claim| claim.scope.region().to_owned()));
    let scope = region.and_then(|region| Scope::new(&region, signs.service).ok());
    let Some(scope) = scope else {
        let said = "neither the host of the route's `base_url` nor a signature of the request tells the region; sign it \
                    with the placeholder keys of the environment";
        return Err(unavailable(permit, said));
    };
    let body = std::mem::replace(&mut prepared.body, RequestBody::Empty);
    let payload = if matches!(body, RequestBody::Empty) {
        Payload::of(b"")
    } else {
        let (whole, room) = read_whole(permit, body).await?;
        let payload = Payload::of(&whole);
        prepared.body = RequestBody::Whole(Some(whole));
        prepared.room = room.or(prepared.room.take());
        payload
    };
    chiton_llm::strip_headers(&mut prepared.headers);
    let target = permit.target();
    let query = without_signature(&chiton_llm::strip_query(target.query().unwrap_or_default(), None));
    let mut headers = HeaderMap::new();
    for (name, field) in prepared.headers.iter().filter(|(name, _)| is_to_be_signed(name)) {
        headers.append(name, field.clone());
    }
    let (method, authority, path) = (&prepared.method, permit.authority(), target.path());
    let request = ToSign { method, host: &authority, path, query: &query, headers: &headers, payload };
    let signed = Signer::new(&key, &scope).sign(&request, SystemTime::now());
    let signed = signed.map_err(|error| unavailable(permit, &error.to_string()))?;
    prepared.target = SentTarget::with_query(path, &query);
    for (name, field) in &signed.headers {
        prepared.headers.insert(name, field.clone());
    }
    Ok(())
}

/// What is said of the body. Where the agent says nothing, it is read, as its program has read it.
async fn payload(permit: &RequestPermit, claim: &Claim, prepared: &mut Prepared) -> Result<Payload, Refusal> {
    let mut said = prepared.headers.get_all(CONTENT).iter();
    let (first, second) = (said.next(), said.next());
    let unclear =
        || denied(permit, Reason::AmbiguousRequest, "`x-amz-content-sha256` says nothing that is known");
    match (first, second) {
        (Some(only), None) => only.to_str().ok().and_then(Payload::parse).ok_or_else(unclear),
        (Some(_), Some(_)) => Err(unclear()),
        (None, _) if claim.in_query && claim.scope.is_s3() => Ok(Payload::Unsigned),
        (None, _) => {
            let body = std::mem::replace(&mut prepared.body, RequestBody::Empty);
            if matches!(body, RequestBody::Empty) {
                return Ok(Payload::of(b""));
            }
            let (whole, room) = read_whole(permit, body).await?;
            let payload = Payload::of(&whole);
            prepared.body = RequestBody::Whole(Some(whole));
            prepared.room = room;
            Ok(payload)
        }
    }
}

/// How long a signature in the query is to hold.
fn expires(permit: &RequestPermit, query: &str) -> Result<Duration, Refusal> {
    let seconds = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Expires="));
    let seconds = match seconds {
        Some(text) => text.parse::<u64>().ok().filter(|seconds| (1..=LONGEST).contains(seconds)),
        None => Some(900),
    };
    let refused = || denied(permit, Reason::AmbiguousRequest, "`X-Amz-Expires` is not 1 to 604800 seconds");
    seconds.map(Duration::from_secs).ok_or_else(refused)
}
