//! Credentials on their way: the agent's out, the backend's in, and never back.
//!
//! The order is the security: what belongs to one hop goes first, so that nothing the agent says about it can take away
//! what is put in later; then the agent's own credentials; then the rule's or the route's is put in. A response is
//! cleaned by its host and not by its request: what one rule's credential left there could be asked for by another rule.

mod aws;
mod place;
mod route;
pub(crate) mod translate;

use std::{sync::Arc, time::Duration};

use chiton_llm::{
    UsageChunkFilter, UsageReader,
    redact::{ACCEPT_ENCODING, ContentCoding, UnknownCharset, UnknownCoding, check_charset, may_keep_coding},
    translate::Answers,
};
use chiton_policy::{
    Denial, Dialect, Reason, RequestPermit,
    model::{Credential, CredentialPlace},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, response::Parts};
use tokio::sync::SemaphorePermit;

pub(crate) use place::forms;
pub(crate) use route::read_whole;
use translate::{Filter, Told, Whole};

use crate::{
    events::{Events, NotWritten},
    headers,
    judge::SentTarget,
    message::{Request, RequestBody},
    revision::{Redactors, Revision},
    spend::{self, Charge, Spend},
    upstream::relay::Cleaner,
};

/// How messages within a body may be coded, which nothing of ours undoes: gRPC's, and Connect's streams.
const MESSAGE_CODINGS: [[&str; 2]; 2] =
    [["grpc-accept-encoding", "grpc-encoding"], ["connect-accept-encoding", "connect-content-encoding"]];

/// Where it is written what a request is given, before it is.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    /// The events.
    pub(crate) events: &'a Events,
    /// What model calls spend.
    pub(crate) spend: &'a Arc<Spend>,
}

/// A request as it goes upstream.
pub(crate) struct Prepared {
    /// The method.
    pub(crate) method: Method,
    /// The fields, without those of one hop.
    pub(crate) headers: HeaderMap,
    /// The agent takes trailers.
    pub(crate) trailers: bool,
    /// The body.
    pub(crate) body: RequestBody,
    /// The field that trailers must not have, because it is ours.
    pub(crate) own: Option<HeaderName>,
    /// Path and query.
    pub(crate) target: SentTarget,
    /// What is to be done to the response.
    pub(crate) cleaning: Option<Cleaning>,
    /// What a model call spends; on the heap, since other requests spend nothing.
    pub(crate) charge: Option<Box<Charge>>,
    /// The memory that a body read before it is sent takes; held until the response begins.
    pub(crate) room: Option<SemaphorePermit<'static>>,
}

/// Why a permitted request does not go upstream.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// By policy after all.
    Denied(Denial),
    /// By a limit of its route, for this long.
    Over(Denial, Duration),
    /// By a limit of its route that it would always break.
    Limited(Denial),
    /// Because it could not be written down.
    NotWritten(NotWritten),
    /// The agent did not send it whole.
    Aborted,
}

/// Why a response cannot be cleaned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// For its coding.
    #[error(transparent)]
    Coding(#[from] UnknownCoding),
    /// For its charset.
    #[error(transparent)]
    Charset(#[from] UnknownCharset),
}

/// What is to be done to a response.
#[derive(Debug)]
pub(crate) struct Cleaning {
    redactors: Redactors,
    dialect: Option<&'static Dialect>,
    usage_added: bool,
    translation: Option<Answers>,
    /// No coding was asked for: one that comes is the content's own.
    coding_is_own: bool,
    /// No part of any credential is sent to the host.
    sends_nothing: bool,
}

/// Takes the agent's credentials out and puts the backend's in, where the permit is of a rule or a route that has one.
pub(crate) async fn prepare(
    Before { events, spend }: Before<'_>,
    permit: &RequestPermit,
    revision: &Revision,
    request: Box<Request>,
) -> Result<Prepared, Refusal> {
    let Request { method, mut headers, body, .. } = *request;
    let trailers = headers::takes_trailers(&headers);
    headers::strip_hop_by_hop(&mut headers);
    headers.remove(header::HOST);
    headers::remove_all(&mut headers, &[header::CONTENT_LENGTH, header::EXPECT]);
    let target = SentTarget::of(permit);
    let mut prepared = Prepared {
        method,
        headers,
        trailers,
        body,
        own: None,
        target,
        cleaning: None,
        charge: None,
        room: None,
    };
    match (permit.llm(), permit.credential()) {
        (Some(grant), _) => {
            Box::pin(route::prepare(Before { events, spend }, permit, grant, revision, &mut prepared))
                .await?;
        }
        (None, Some(credential)) => {
            Box::pin(rule(events, permit, credential, revision, &mut prepared)).await?;
        }
        (None, None) => {}
    }
    if revision.gives_to(permit.host()) {
        let asks_for_coding = ask_for_readable(&mut prepared.headers, revision.only_signs_for(permit.host()));
        let cleaning = prepared.cleaning.get_or_insert(Cleaning::NONE);
        cleaning.redactors = revision.redactors.clone();
        cleaning.coding_is_own = !asks_for_coding;
        cleaning.sends_nothing = revision.sends_nothing_to(permit.host());
    }
    Ok(prepared)
}

async fn rule(
    events: &Events,
    permit: &RequestPermit,
    credential: &Credential,
    revision: &Revision,
    prepared: &mut Prepared,
) -> Result<(), Refusal> {
    let value = revision.usable(&credential.secret, permit.host());
    let value = value.map_err(|none| unavailable(permit, none.said(true)))?;
    prepared.own = credential.place.header().and_then(|name| name.parse().ok());
    if credential.place == CredentialPlace::Aws {
        aws::sign(permit, value, prepared).await?;
    } else {
        chiton_llm::strip_headers(&mut prepared.headers);
        place::put(&credential.place, value, permit.intent(), prepared)
            .map_err(|unfit| unavailable(permit, &unfit.to_string()))?;
    }
    events.injected(permit).map_err(Refusal::NotWritten)?;
    Ok(())
}

/// Only what can be undone is asked for, and the whole, where a value could come back in two parts: not where it was
/// not sent itself, since S3 is read in parts. Whether any coding is asked for.
fn ask_for_readable(headers: &mut HeaderMap, parts: bool) -> bool {
    let asks_for_coding = headers.get_all(header::ACCEPT_ENCODING).iter().any(names_coding);
    if headers.contains_key(header::ACCEPT_ENCODING) {
        let asked = if asks_for_coding { ACCEPT_ENCODING } else { "identity" };
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(asked));
    }
    if !parts {
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
    }
    // Text in a charset without ASCII cannot be searched.
    headers.remove(header::ACCEPT_CHARSET);
    // Changes against an earlier version (RFC 3229) are parts, too.
    headers.remove("a-im");
    for [accepted, _] in MESSAGE_CODINGS {
        headers.remove(accepted);
    }
    asks_for_coding
}

/// Whether an `Accept-Encoding` names another coding than `identity`, and not with `q=0`.
fn names_coding(value: &HeaderValue) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|coding| {
        let mut parts = coding.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let is_none = |part: &[u8]| {
            part.strip_prefix(b"q=").is_some_and(|q| q.iter().all(|byte| matches!(byte, b'0' | b'.')))
        };
        !name.is_empty() && !name.eq_ignore_ascii_case(b"identity") && !parts.any(is_none)
    })
}

impl From<spend::Refused> for Refusal {
    fn from(refused: spend::Refused) -> Self {
        match refused {
            spend::Refused::Denied(denial) => Self::Limited(denial),
            spend::Refused::Over(denial, wait) => Self::Over(denial, wait),
            spend::Refused::NotWritten(error) => Self::NotWritten(error),
        }
    }
}

fn unavailable(permit: &RequestPermit, said: &str) -> Refusal {
    denied(permit, Reason::CredentialUnavailable, said)
}

fn denied(permit: &RequestPermit, reason: Reason, said: &str) -> Refusal {
    Refusal::Denied(Denial::after_permit(reason, permit.rule().cloned(), permit.intent(), said))
}

impl Cleaning {
    const NONE: Self = Self {
        redactors: Redactors::NONE,
        dialect: None,
        usage_added: false,
        translation: None,
        coding_is_own: false,
        sends_nothing: false,
    };

    /// What has to be taken out of whatever comes back, where anything has.
    pub(crate) fn redactors(&self) -> Option<Redactors> {
        (!self.redactors.values.is_empty()).then(|| self.redactors.clone())
    }

    /// In which coding a body passes as it is, searched only: one that is its own, and not ours to read. Of a part of one
    /// nobody can tell the text, so that its bytes alone are searched, and only where nothing was sent that they could hold.
    fn keeps(&self, coding: ContentCoding, status: StatusCode, kind: Option<&str>) -> Option<ContentCoding> {
        if coding == ContentCoding::Identity || self.dialect.is_some() || !may_keep_coding(kind) {
            return None;
        }
        if status == StatusCode::PARTIAL_CONTENT {
            return self.sends_nothing.then_some(ContentCoding::Identity);
        }
        self.coding_is_own.then_some(coding)
    }

    /// Cleans a response's head, and says how its body is to be cleaned; and how it is told, where that is when all
    /// of it is there.
    pub(crate) fn begin(self, parts: &mut Parts) -> Result<(Cleaner, Option<Whole>), Unreadable> {
        let headers = &mut parts.headers;
        let coding = ContentCoding::of(headers)?;
        if !self.redactors.values.is_empty() {
            plain_messages(headers)?;
            check_charset(headers)?;
        }
        self.redactors.scrub_headers(headers);
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::ACCEPT_RANGES);
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let kind = kind.as_deref();
        let kept = self.keeps(coding, parts.status, kind);
        if kept.is_none() {
            headers.remove(header::CONTENT_ENCODING);
        }
        let usage = self.dialect.map(|dialect| UsageReader::new(dialect, kind).with_fields(headers));
        let values = &self.redactors.values;
        let scrubber = match kept {
            Some(coding) => values.scrubber_of_coded(coding, kind),
            None => values.scrubber(coding).of_content_type(kind),
        };
        let told = self.translation.map(|answers| translate::begin(answers, &self.redactors, parts));
        let (filter, whole) = match told {
            Some(Told::AsItComes(filter)) => (Some(filter), None),
            Some(Told::Whole(whole)) => (None, Some(whole)),
            None => (self.usage_added.then(|| Filter::Usage(UsageChunkFilter::default())), None),
        };
        Ok((Cleaner { scrubber, redactors: self.redactors, usage, filter, quiet: None }, whole))
    }
}

fn plain_messages(headers: &HeaderMap) -> Result<(), UnknownCoding> {
    let coded = |name: &str| headers.get_all(name).iter().any(|coding| !is_identity(coding));
    if MESSAGE_CODINGS.iter().any(|[_, said]| coded(said)) { Err(UnknownCoding) } else { Ok(()) }
}

fn is_identity(coding: &HeaderValue) -> bool {
    coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")
}
