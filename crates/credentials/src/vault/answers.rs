//! What Vault says, of which only what is looked for is kept. Values go straight into what is wiped.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use chiton_secret::SecretValue;
use serde::Deserialize;

use super::{KvVersion, VaultError};
use crate::json::{Field, text};

/// A secret, all of its fields.
#[derive(Debug)]
pub(super) struct Secret {
    fields: BTreeMap<String, Field>,
    lease: Duration,
    written: Option<SystemTime>,
}

impl Secret {
    pub(super) fn parse(version: KvVersion, body: &[u8]) -> Result<Self, VaultError> {
        let (fields, lease, written) = match version {
            KvVersion::V1 => {
                let read: Read<BTreeMap<String, Field>> = parse(body)?;
                if !read.lease_id.is_empty() {
                    // Made for this one question: no KV secret is.
                    return Err(VaultError::NotKv);
                }
                (read.data, read.lease_duration, None)
            }
            KvVersion::V2 => {
                let read: Read<Versioned> = parse(body)?;
                let (fields, metadata) =
                    read.data.map_or_else(Default::default, |read| (read.data, read.metadata));
                (fields, read.lease_duration, metadata.created_time.and_then(|at| moment(&at)))
            }
        };
        // A deleted version has its metadata only.
        let fields = fields.ok_or(VaultError::Missing { field: None })?;
        Ok(Self { fields, lease: Duration::from_secs(lease), written })
    }

    pub(super) const fn lease(&self) -> Duration {
        self.lease
    }

    pub(super) const fn written(&self) -> Option<SystemTime> {
        self.written
    }

    /// The field of this name; without one: `value`, or the only field.
    pub(super) fn into_field(mut self, name: Option<&str>) -> Result<SecretValue, VaultError> {
        let found = match name {
            Some(name) => self.fields.remove(name),
            None => match self.fields.remove("value") {
                None if self.fields.len() > 1 => return Err(VaultError::ManyFields(self.fields.len())),
                None => self.fields.pop_first().map(|(_, field)| field),
                found => found,
            },
        };
        match found {
            Some(Field::Text(value)) => Ok(value),
            Some(Field::Other(what)) => Err(VaultError::NotText(what)),
            None => Err(VaultError::Missing { field: name.map(str::to_owned) }),
        }
    }
}

/// Reads an answer of this form.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, VaultError> {
    // What serde says may repeat what it read.
    serde_json::from_slice(body).map_err(|_| VaultError::Odd("its JSON is of another form"))
}

#[derive(Deserialize)]
struct Read<T> {
    data: Option<T>,
    #[serde(default)]
    lease_id: String,
    #[serde(default)]
    lease_duration: u64,
}

#[derive(Deserialize)]
struct Versioned {
    data: Option<BTreeMap<String, Field>>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    created_time: Option<String>,
}

/// What a log-in or a renewal gives.
#[derive(Deserialize)]
pub(super) struct LoggedIn {
    pub(super) auth: Auth,
}

#[derive(Deserialize)]
pub(super) struct Auth {
    #[serde(deserialize_with = "text")]
    pub(super) client_token: SecretValue,
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// What a token says of itself.
#[derive(Deserialize)]
pub(super) struct LookedUp {
    pub(super) data: AboutToken,
}

#[derive(Deserialize)]
pub(super) struct AboutToken {
    #[serde(default)]
    pub(super) ttl: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// What is mounted on a path.
#[derive(Deserialize)]
pub(super) struct Mounted {
    pub(super) data: AboutMount,
}

#[derive(Deserialize)]
pub(super) struct AboutMount {
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) options: Option<MountOptions>,
}

#[derive(Deserialize)]
pub(super) struct MountOptions {
    pub(super) version: Option<String>,
}

fn moment(text: &str) -> Option<SystemTime> {
    let seconds = u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_second()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(version: KvVersion, body: &str, name: Option<&str>) -> Result<String, String> {
        let secret = Secret::parse(version, body.as_bytes()).map_err(|error| error.to_string())?;
        let value = secret.into_field(name).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(value.dangerous_expose().to_vec()).unwrap())
    }

    #[test]
    fn the_field_that_is_named_or_meant() {
        let v1 = |data: &str, name| field(KvVersion::V1, &format!("{{\"data\":{data}}}"), name);
        assert_eq!(v1(r#"{"key":"sk-\u00e9"}"#, Some("key")), Ok("sk-é".into()));
        assert_eq!(v1(r#"{"only":"sk-1"}"#, None), Ok("sk-1".into()));
        assert_eq!(v1(r#"{"value":"sk-2","other":"x"}"#, None), Ok("sk-2".into()));
        for (data, name, said) in [
            (r#"{"a":"sk-1","b":"sk-2"}"#, None, "2 fields"),
            (r#"{"a":"sk-1"}"#, Some("b"), "no field `b`"),
            ("{}", None, "no such secret"),
            ("null", None, "no such secret"),
            (r#"{"a":17}"#, None, "a number"),
            (r#"{"a":{"b":["sk-1"]}}"#, None, "a map"),
            (r#"["sk-1"]"#, None, "another form"),
        ] {
            let error = v1(data, name).unwrap_err();
            assert!(error.contains(said) && !error.contains("sk-"), "{error}");
        }
        let leased = field(KvVersion::V1, r#"{"lease_id":"db/1","data":{"password":"sk-1"}}"#, None);
        assert!(leased.unwrap_err().contains("not the KV"));
    }

    #[test]
    fn version_two_knows_when_and_what_was_deleted() {
        let body = r#"{"lease_duration":0,"data":{"data":{"k":"sk-1"},"metadata":{"created_time":"2026-11-28T10:00:00.123456Z","version":3}}}"#;
        let secret = Secret::parse(KvVersion::V2, body.as_bytes()).unwrap();
        let since = secret.written().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_secs(), 1_795_860_000);
        let deleted = r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-11-28T10:00:00Z"}}}"#;
        assert!(field(KvVersion::V2, deleted, None).unwrap_err().contains("no such secret"));
    }
}
