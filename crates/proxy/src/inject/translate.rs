//! A call whose backend speaks another API: the request in its words, and the answer in the asker's.
//!
//! The order is the security: models are judged on what the agent sent, aliases put in; then the body is translated and
//! the backend's credential given. An answer is cleaned and its usage read in the backend's words, then told; a whole
//! one is cleaned once more, since a text within a text is opened on the way.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use chiton_llm::{
    UsageChunkFilter,
    translate::{Answer, Answers, Api, LONGEST_ANSWER, StreamTranslator, Way},
};
use chiton_policy::{LlmGrant, Reason, RequestPermit, Words};
use http::{HeaderMap, HeaderName, HeaderValue, header, response::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{Prepared, Refusal, denied, route};
use crate::{
    judge::{OtherParameter, SentTarget},
    message::{Aborted, BodyError, RequestBody, Response, ResponseBody},
    revision::Redactors,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
/// The version whose requests have a temperature still, where the model takes one.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// Parameters that change nothing of a conversation: which edition of the asker's API is meant.
const EDITIONS: [&str; 2] = ["beta", "api-version"];

/// What a response's body goes through after it was cleaned.
pub(crate) enum Filter {
    /// The usage that nobody but us asked for is taken out.
    Usage(UsageChunkFilter),
    /// The stream is told in another API's words.
    Translation(Box<StreamTranslator>),
}

impl Filter {
    /// Takes the next bytes and gives what the agent may see by now.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Bytes {
        match self {
            Self::Usage(filter) => filter.push(bytes),
            Self::Translation(translator) => translator.push(bytes),
        }
    }

    /// What is left at the stream's end.
    pub(crate) fn finish(&mut self) -> Bytes {
        match self {
            Self::Usage(filter) => filter.finish(),
            Self::Translation(translator) => translator.finish(),
        }
    }
}

/// Marks a response that is told when all of it is there.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    answers: Answers,
    redactors: Redactors,
}

/// Puts a request into its backend's words, where these are others. `usage_added`: the usage is asked for by us.
pub(super) fn request(
    grant: LlmGrant<'_>,
    permit: &RequestPermit,
    prepared: &mut Prepared,
    usage_added: bool,
) -> Result<Option<Answers>, Refusal> {
    let Some(way) = way(grant) else { return Ok(None) };
    let refused = |said: &str| denied(permit, Reason::Untranslatable, said);
    if !route::is_json(&prepared.headers) || !route::is_one_text(&prepared.headers) {
        return Err(refused("only a body of `application/json` in UTF-8, not encoded, can be translated"));
    }
    let target = SentTarget::without_query(permit.target(), &EDITIONS);
    prepared.target = target.map_err(|OtherParameter(name)| {
        refused(&format!(
            "the query's `{}` cannot be translated; leave it out",
            crate::refuse::quoted(name.as_bytes())
        ))
    })?;
    let RequestBody::Whole(Some(body)) = std::mem::replace(&mut prepared.body, RequestBody::Empty) else {
        return Err(refused("there is no body to translate"));
    };
    let translated = way.request(&body).map_err(|error| refused(&error.to_string()))?;
    prepared.body = RequestBody::Whole(Some(Bytes::from(translated.body)));
    let mut answers = translated.answers;
    if usage_added {
        answers = answers.without_usage();
    }
    head(&mut prepared.headers, answers.asker);
    Ok(Some(answers))
}

fn way(grant: LlmGrant<'_>) -> Option<Way> {
    let endpoint = grant.translated()?;
    Some(match grant.backend_facts().conversation?.words {
        Words::Chat { most_tokens } => Way::MessagesToChat { most_tokens, asks_usage: endpoint.asks_usage },
        Words::Messages => Way::ChatToMessages,
    })
}

/// The fields of the asker's API go, those that the backend's needs come. What betas open are fields of the body,
/// each of which is judged itself.
fn head(headers: &mut HeaderMap, asker: Api) {
    let own = match asker {
        Api::Messages => "anthropic-",
        Api::Chat => "openai-",
    };
    let gone: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(own)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    headers.insert(header::CONTENT_TYPE, JSON);
    if asker == Api::Chat {
        headers.insert("anthropic-version", ANTHROPIC_VERSION);
    }
}

/// How the answer is told: as a stream, or when all of it is there.
pub(super) enum Told {
    AsItComes(Filter),
    Whole(Whole),
}

/// Begins to tell an answer, of which the head has come and was cleaned.
pub(super) fn begin(answers: Answers, redactors: &Redactors, parts: &mut Parts) -> Told {
    let events = parts.headers.get(header::CONTENT_TYPE).is_some_and(is_event_stream);
    let (theirs, askers) = match answers.asker {
        Api::Messages => ("x-request-id", "request-id"),
        Api::Chat => ("request-id", "x-request-id"),
    };
    if let Some(id) = parts.headers.remove(theirs) {
        parts.headers.insert(askers, id);
    }
    if parts.status.is_success() && answers.stream && events {
        parts.headers.insert(header::CONTENT_TYPE, EVENTS);
        return Told::AsItComes(Filter::Translation(Box::new(answers.stream(now()))));
    }
    parts.headers.insert(header::CONTENT_TYPE, JSON);
    Told::Whole(Whole { answers, redactors: redactors.clone() })
}

fn is_event_stream(kind: &HeaderValue) -> bool {
    let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// Tells an answer that is told whole; any other passes.
pub(crate) async fn finish(mut response: Response) -> Result<Response, Aborted> {
    let Some(Whole { answers, redactors }) = response.extensions_mut().remove() else { return Ok(response) };
    let (mut parts, body) = response.into_parts();
    let bad = |said: &str| answers.error(http::StatusCode::BAD_GATEWAY, said);
    let Answer { status, body } = match Limited::new(body, LONGEST_ANSWER).collect().await {
        Ok(_) if parts.status.is_success() && answers.stream => bad("the backend's answer is no stream"),
        Ok(whole) => answers.whole(parts.status, &whole.to_bytes(), now()),
        Err(error) if error.is::<LengthLimitError>() => bad("the backend's answer is too long"),
        Err(error) if matches!(error.downcast_ref(), Some(BodyError::Cut)) => return Err(Aborted),
        Err(error) => bad(&format!("the backend's answer broke off: {error}")),
    };
    let body = redactors.values.scrub(body.as_bytes()).unwrap_or_else(|| body.into_bytes());
    parts.status = status;
    Ok(Response::from_parts(parts, ResponseBody::Own(Some(Bytes::from(body)))))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
