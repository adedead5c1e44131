//! What Secrets Manager says, of which only what is looked for is kept. Values go straight into what is wiped.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chiton_secret::SecretValue;
use serde::Deserialize;

use super::AwsError;
use crate::{
    client::Answer,
    json::{Field, maybe_text},
};

/// A secret, whole.
#[derive(Debug)]
pub(super) struct Secret {
    value: SecretValue,
    pub(super) written: Option<SystemTime>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    #[serde(default, deserialize_with = "maybe_text")]
    secret_string: Option<SecretValue>,
    #[serde(default, deserialize_with = "maybe_text")]
    secret_binary: Option<SecretValue>,
    created_date: Option<f64>,
}

impl Secret {
    pub(super) fn parse(body: &[u8]) -> Result<Self, AwsError> {
        // What serde says may repeat what it read.
        let odd = |_| AwsError::Odd("its JSON is of another form");
        let given: Given = serde_json::from_slice(body).map_err(odd)?;
        let written = given.created_date.and_then(moment);
        let value = match (given.secret_string, given.secret_binary) {
            (Some(text), None) => text,
            (None, Some(binary)) => {
                let decoded = STANDARD.decode(binary.dangerous_expose());
                SecretValue::new(decoded.map_err(|_| AwsError::Odd("its SecretBinary is not base64"))?)
            }
            _ => return Err(AwsError::Odd("it has neither SecretString nor SecretBinary")),
        };
        Ok(Self { value, written })
    }

    /// The field of this name; without one: all of it.
    pub(super) fn into_field(self, name: Option<&str>) -> Result<SecretValue, AwsError> {
        let Some(name) = name else { return Ok(self.value) };
        let fields: Result<BTreeMap<String, Field>, _> =
            serde_json::from_slice(self.value.dangerous_expose());
        let mut fields = fields.map_err(|_| AwsError::NoFields)?;
        match fields.remove(name) {
            Some(Field::Text(value)) => Ok(value),
            Some(Field::Other(what)) => Err(AwsError::NotText(what)),
            None => Err(AwsError::NoField(name.to_owned())),
        }
    }
}

fn moment(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "__type")]
    kind: String,
}

/// What an answer means that holds no value. Only words that are known are repeated.
pub(super) fn fault(answer: &Answer) -> AwsError {
    let said: Option<Said> = serde_json::from_slice(answer.body()).ok();
    let kind = said.map(|said| said.kind).unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let known = |codes: &[&'static str]| codes.iter().find(|code| **code == kind).copied();
    if let Some(code) = known(THROTTLED).or((answer.status() == 429).then_some("429")) {
        return AwsError::TooMany { code, retry_after: answer.retry_after() };
    }
    if let Some(code) = known(REFUSED) {
        return AwsError::Refused(code);
    }
    if let Some(code) = known(FORBIDDEN) {
        return AwsError::Forbidden(code);
    }
    match (kind, answer.status()) {
        ("ResourceNotFoundException", _) => AwsError::Missing,
        ("InvalidRequestException", _) => AwsError::Deleted("InvalidRequestException"),
        ("InvalidParameterException", _) => AwsError::BadName("InvalidParameterException"),
        ("ValidationException", _) => AwsError::BadName("ValidationException"),
        ("DecryptionFailure", _) => AwsError::Decryption,
        // Of something on the way, such as an endpoint's own policy.
        ("", 403) => AwsError::Forbidden("403"),
        (_, status @ 500..600) => AwsError::Failed(status),
        (_, 300..400) => AwsError::Odd("it sends elsewhere, which is not followed"),
        _ => AwsError::Odd("its error is not one of this question's"),
    }
}

const THROTTLED: &[&str] = &[
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "RequestThrottledException",
    "LimitExceededException",
];
const REFUSED: &[&str] = &[
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "InvalidClientTokenId",
    "ExpiredTokenException",
    "ExpiredToken",
    "RequestExpired",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
];
const FORBIDDEN: &[&str] = &["AccessDeniedException", "AccessDenied"];

#[cfg(test)]
mod tests {
    use super::*;

    fn field(body: &str, name: Option<&str>) -> Result<String, String> {
        let secret = Secret::parse(body.as_bytes()).map_err(|error| error.to_string())?;
        let value = secret.into_field(name).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(value.dangerous_expose().to_vec()).unwrap())
    }

    #[test]
    fn the_whole_or_a_field_of_it() {
        let json = r#"{"SecretString":"{\"key\":\"sk-\\u00e9\",\"n\":17}","CreatedDate":1795860000.5}"#;
        assert_eq!(field(json, Some("key")), Ok("sk-é".into()));
        assert_eq!(field(json, None), Ok("{\"key\":\"sk-\\u00e9\",\"n\":17}".into()));
        assert_eq!(field(r#"{"SecretString":"sk-plain"}"#, None), Ok("sk-plain".into()));
        assert_eq!(field(r#"{"SecretBinary":"c2stYmluYXJ5"}"#, None), Ok("sk-binary".into()));
        for (body, name, said) in [
            (json, Some("other"), "no field `other`"),
            (json, Some("n"), "a number"),
            (r#"{"SecretString":"sk-plain"}"#, Some("key"), "no JSON object"),
            (r#"{"SecretString":"[\"sk-plain\"]"}"#, Some("0"), "no JSON object"),
            (r#"{"SecretString":17}"#, None, "another form"),
            (r#"{"Name":"sk-x"}"#, None, "neither"),
            (r#"{"SecretBinary":"sk-!"}"#, None, "not base64"),
            ("<sk->", None, "another form"),
        ] {
            let error = field(body, name).unwrap_err();
            assert!(error.contains(said) && !error.contains("sk-"), "{error}");
        }
        let written = Secret::parse(json.as_bytes()).unwrap().written.unwrap();
        assert_eq!(written.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 1_795_860_000);
    }
}
