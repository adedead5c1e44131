//! Credentials as a container's agent and the instance's metadata write them.

use std::time::{Duration, SystemTime};

use chiton_aws::Credentials;
use chiton_secret::SecretValue;
use serde::Deserialize;

use super::{ChainError, Whom};
use crate::json::{maybe_text, text};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    #[serde(deserialize_with = "text")]
    secret_access_key: SecretValue,
    #[serde(default, deserialize_with = "maybe_text")]
    token: Option<SecretValue>,
    expiration: Option<String>,
    code: Option<String>,
}

pub(super) fn parse(body: &[u8], whom: Whom) -> Result<Credentials, ChainError> {
    // What serde says may repeat what it read.
    let given: Given = serde_json::from_slice(body).map_err(|_| ChainError::Odd(whom))?;
    if given.code.is_some_and(|code| code != "Success") {
        return Err(ChainError::Odd(whom));
    }
    let expires = given.expiration.map(|at| moment(&at).ok_or(ChainError::Odd(whom))).transpose()?;
    let Given { access_key_id, secret_access_key, token: session_token, .. } = given;
    Ok(Credentials { access_key_id, secret_access_key, session_token, expires })
}

pub(super) fn moment(text: &str) -> Option<SystemTime> {
    let seconds = u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_second()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}
