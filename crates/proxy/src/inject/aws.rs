//! Requests to Amazon: the agent's signature, made with a placeholder, goes, and one by the rule's or the route's key
//! comes.
//!
//! What is signed is what is sent: the judged method, host and path, the query without the agent's signature, the fields
//! that Amazon wants signed, and the body by what the agent says of it, which Amazon verifies. For which service and
//! region is what the agent's signature says: its own program knows. A route knows the service, and its backend's host
//! tells the region.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chiton_aws::{
    ChunkResigner, Claim, Credentials, Payload, Scope, SignError, Signed, Signer, ToSign, is_to_be_signed,
    without_signature,
};
use chiton_policy::{Reason, RequestPermit, Signs};
use chiton_secret::SecretValue;
use http::{HeaderMap, header};

use super::{Prepared, Refusal, denied, route::read_whole, unavailable};
use crate::{
    judge::SentTarget,
    message::{RequestBody, SignedBody},
};

const CONTENT: &str = "x-amz-content-sha256";
/// What of STS gives out no keys: everything else there makes some.
const WITHOUT_KEYS: [&str; 3] = ["GetCallerIdentity", "DecodeAuthorizationMessage", "GetAccessKeyInfo"];
const FORM: &str = "application/x-www-form-urlencoded";
/// A signature in a query holds for no longer.
const LONGEST: u64 = 7 * 24 * 3600;

/// Signs a request that a rule allows, as its program has signed it.
pub(super) async fn sign(
    permit: &RequestPermit,
    value: &SecretValue,
    prepared: &mut Prepared,
) -> Result<(), Refusal> {
    let key = key_of(permit, value, "rule")?;
    let query = permit.intent().query().unwrap_or_default();
    let Some(claim) = Claim::of(&prepared.headers, query) else {
        let said = "the request is not signed for AWS in one way, so that nothing tells its service and region; \
                    sign it with the placeholder keys of the environment";
        return Err(unavailable(permit, said));
    };
    gives_no_keys(permit, &claim, query, prepared).await?;
    let expires = claim.in_query.then(|| expires(permit, query)).transpose()?;
    let payload = payload(permit, &claim, prepared).await?;
    let signed =
        ToBeSigned { signer: Signer::new(&key, &claim.scope), payload, expires }.put(permit, prepared)?;
    if let Some(signed) = signed
        && matches!(payload, Payload::Chunks | Payload::ChunksAndTrailer)
    {
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
    let key = key_of(permit, value, "route")?;
    let region = signs.region_of(permit.host()).map(str::to_owned);
    let region = region.or_else(|| claim.map(|claim| claim.scope.region().to_owned()));
    let scope = region.and_then(|region| Scope::new(&region, signs.service).ok());
    let Some(scope) = scope else {
        let said = "neither the host of the route's `base_url` nor a signature of the request tells the region; sign it \
                    with the placeholder keys of the environment";
        return Err(unavailable(permit, said));
    };
    let payload = Payload::of(&read(permit, prepared).await?);
    ToBeSigned { signer: Signer::new(&key, &scope), payload, expires: None }.put(permit, prepared)?;
    Ok(())
}

/// The key that a secret holds; `of`: whose credential it is.
fn key_of(permit: &RequestPermit, value: &SecretValue, of: &str) -> Result<Credentials, Refusal> {
    let none = |none| unavailable(permit, &format!("the {of}'s credential is no AWS key: {none}"));
    Credentials::parse(value).map_err(none)
}

/// How a request is signed.
struct ToBeSigned<'a> {
    signer: Signer<'a>,
    payload: Payload,
    /// In the query, for so long.
    expires: Option<Duration>,
}

impl ToBeSigned<'_> {
    /// Takes the caller's signature and credentials out, and puts this signature in. None where it is in the query.
    fn put(self, permit: &RequestPermit, prepared: &mut Prepared) -> Result<Option<Signed>, Refusal> {
        let Self { signer, payload, expires } = self;
        chiton_llm::strip_headers(&mut prepared.headers);
        let target = permit.target();
        let query = without_signature(&chiton_llm::strip_query(target.query().unwrap_or_default(), None));
        let mut headers = HeaderMap::new();
        for (name, field) in prepared.headers.iter().filter(|(name, _)| is_to_be_signed(name)) {
            headers.append(name, field.clone());
        }
        let (method, authority, path) = (&prepared.method, permit.authority(), target.path());
        let request = ToSign { method, host: &authority, path, query: &query, headers: &headers, payload };
        let unfit = |error: SignError| unavailable(permit, &error.to_string());
        let now = SystemTime::now();
        if let Some(holds) = expires {
            let query = signer.presign(&request, now, holds).map_err(unfit)?;
            prepared.target = SentTarget::with_query(path, &query);
            return Ok(None);
        }
        let signed = signer.sign(&request, now).map_err(unfit)?;
        prepared.target = SentTarget::with_query(path, &query);
        for (name, field) in &signed.headers {
            prepared.headers.insert(name, field.clone());
        }
        Ok(Some(signed))
    }
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
        (None, _) => Ok(Payload::of(&read(permit, prepared).await?)),
    }
}

/// The whole of a body, which stays the request's. What has none keeps none.
async fn read(permit: &RequestPermit, prepared: &mut Prepared) -> Result<Bytes, Refusal> {
    if matches!(prepared.body, RequestBody::Empty) {
        return Ok(Bytes::new());
    }
    let body = std::mem::replace(&mut prepared.body, RequestBody::Empty);
    let (whole, room) = read_whole(permit, body).await?;
    prepared.body = RequestBody::Whole(Some(whole.clone()));
    prepared.room = room.or(prepared.room.take());
    Ok(whole)
}

/// Refuses what the server would answer with keys: the agent would hold them, and they work from everywhere.
async fn gives_no_keys(
    permit: &RequestPermit,
    claim: &Claim,
    query: &str,
    prepared: &mut Prepared,
) -> Result<(), Refusal> {
    let query = without_signature(query);
    let refused = |said: &str| Err(unavailable(permit, said));
    if claim.scope.is_s3() && pairs(&query).any(|(name, _)| name == "session" || name.contains('%')) {
        return refused("`CreateSession` of S3 answers with keys, which are not for the inside");
    }
    if !claim.scope.service().eq_ignore_ascii_case("sts") {
        return Ok(());
    }
    let whole = read(permit, prepared).await?;
    let mut kinds = prepared.headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds.next().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_form = kind.eq_ignore_ascii_case(FORM) && kinds.next().is_none();
    let is_read = whole.is_empty() || is_form && !prepared.headers.contains_key(header::CONTENT_ENCODING);
    let asked = std::str::from_utf8(&whole).ok().filter(|_| is_read).and_then(|form| action(&query, form));
    if permit.intent().path() == "/" && asked.is_some_and(|action| WITHOUT_KEYS.contains(&action)) {
        return Ok(());
    }
    refused(
        "STS answers with keys, which are not for the inside: of it, only `GetCallerIdentity`, \
         `DecodeAuthorizationMessage` and `GetAccessKeyInfo` are signed, in a query or a form",
    )
}

/// The one action that a query and a form name; none where they could be read in two ways.
fn action<'a>(query: &'a str, form: &'a str) -> Option<&'a str> {
    let is_plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let all = || pairs(query).chain(pairs(form));
    let two_ways = all().any(|(name, value)| !is_plain(name) || value.contains(';'));
    let mut named = all().filter(|(name, _)| name.eq_ignore_ascii_case("action")).map(|(_, value)| value);
    let only = named.next().filter(|_| !two_ways)?;
    named.next().is_none().then_some(only)
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
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
