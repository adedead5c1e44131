//! `credential` of an `http` rule.

use std::ops::Range;

use super::{Node, Notes, Value, llm::read_secret, process::env_name, read::Fields};
use crate::{
    model::{
        BasicUser, CookieName, Credential, CredentialFormat, CredentialPlace, HeaderName, ParameterName,
    },
    names::EnvName,
};

const FIELDS: [&str; 8] = ["secret", "aws", "header", "format", "basic", "query", "cookie", "env"];
/// Each is a place of its own; `format` goes with the first.
const PLACES: [&str; 4] = ["header", "basic", "query", "cookie"];
/// A program without them does not run.
const NEEDED: [&str; 4] = ["HOME", "PATH", "USER", "LOGNAME"];

/// A credential and where its parts stand.
#[derive(Clone, Debug)]
pub(crate) struct SitedCredential {
    pub(crate) span: Range<usize>,
    pub(crate) env: Option<(EnvName, Range<usize>)>,
}

/// A reference alone, or a map with the reference and a place.
pub(super) fn read(node: &Node, notes: &mut Notes) -> Option<(Credential, SitedCredential)> {
    let sited = |env| SitedCredential { span: node.span.clone(), env };
    if matches!(node.value, Value::Scalar { .. }) {
        // A reference alone goes where most keys go.
        let secret = read_secret(node, "credential", notes)?;
        return Some((Credential { secret, place: bearer()?, env: None }, sited(None)));
    }
    let fields = notes.fields(node, "credential", &FIELDS);
    let aws = fields.get("aws");
    let secret = match aws.or(fields.get("secret")) {
        Some(secret) => read_secret(secret, if aws.is_some() { "aws" } else { "secret" }, notes),
        None => {
            if !notes.has_error_in(&node.span) {
                let message = "`credential` has no `secret`: a reference, as `local://name`";
                notes.error(node.span.clone(), message);
            }
            None
        }
    };
    let place = if aws.is_some() { read_aws(&fields, notes) } else { read_place(&fields, notes) };
    let env = fields.get("env").and_then(|node| {
        let env = notes.parsed(node, "env", placeholder_name)?;
        Some((env, node.span.clone()))
    });
    // Everything was read, so that everything wrong is told.
    let credential =
        Credential { secret: secret?, place: place?, env: env.as_ref().map(|(name, _)| name.clone()) };
    Some((credential, sited(env)))
}

/// A key that signs stands nowhere itself.
fn read_aws(fields: &Fields<'_>, notes: &mut Notes) -> Option<CredentialPlace> {
    let other = FIELDS.into_iter().filter(|name| !matches!(*name, "aws" | "env"));
    let Some((name, span)) = other.into_iter().find_map(|name| Some((name, fields.key(name)?))) else {
        return Some(CredentialPlace::Aws);
    };
    let message =
        format!("`credential` has both `aws` and `{name}`: an AWS key signs, and goes to no place itself");
    notes.error(span, message).help = Some("keep one of them".to_owned());
    None
}

fn bearer() -> Option<CredentialPlace> {
    Some(CredentialPlace::Header {
        name: HeaderName::new("authorization")?,
        format: CredentialFormat::new("Bearer {}")?,
    })
}

fn read_place(fields: &Fields<'_>, notes: &mut Notes) -> Option<CredentialPlace> {
    let mut given = PLACES.into_iter().filter(|name| fields.get(name).is_some());
    let (first, second) = (given.next(), given.next());
    if let (Some(first), Some(second)) = (first, second) {
        let span = fields.key(second).unwrap_or_default();
        let message = format!("`credential` has both `{first}` and `{second}`: a secret goes to one place");
        notes.error(span, message).help = Some("keep one of them".to_owned());
        return None;
    }
    if let (Some(place), Some(span)) = (first.filter(|place| *place != "header"), fields.key("format")) {
        let message = format!("`format` is of a `header`, and this secret goes to `{place}`");
        notes.error(span, message).help = Some("leave `format` out".to_owned());
        return None;
    }
    match first {
        Some("basic") => read_basic(fields.get("basic")?, notes),
        Some("query") => {
            let name = |text: &str| {
                ParameterName::new(text).ok_or("a parameter's name is up to 64 letters, digits and `-._~`")
            };
            notes.parsed(fields.get("query")?, "query", name).map(CredentialPlace::Query)
        }
        Some("cookie") => {
            let name = |text: &str| CookieName::new(text).ok_or("not the name of a cookie");
            notes.parsed(fields.get("cookie")?, "cookie", name).map(CredentialPlace::Cookie)
        }
        Some(_) | None => read_header(fields, notes),
    }
}

fn read_basic(node: &Node, notes: &mut Notes) -> Option<CredentialPlace> {
    let fields = notes.fields(node, "basic", &["user"]);
    let Some(user) = fields.get("user") else {
        if !notes.has_error_in(&node.span) {
            let message = "`basic` has no `user`: the secret is the password";
            notes.error(node.span.clone(), message).help = Some(
                "write `basic: {user: NAME}`; a server that looks at the password alone takes any".to_owned(),
            );
        }
        return None;
    };
    let name = |text: &str| BasicUser::new(text).ok_or("a user has no `:` and no control character");
    notes.parsed(user, "user", name).map(CredentialPlace::Basic)
}

fn read_header(fields: &Fields<'_>, notes: &mut Notes) -> Option<CredentialPlace> {
    let header = fields.get("header").map(|node| {
        let header = |text: &str| HeaderName::new(text).ok_or("not the name of a header that may be set");
        notes.parsed(node, "header", header)
    });
    let format = fields.get("format").map(|node| {
        let format = |text: &str| {
            CredentialFormat::new(text)
                .ok_or("a format has exactly one `{}` where the secret goes, as `Bearer {}`")
        };
        notes.parsed(node, "format", format)
    });
    let usual = if header.is_none() { "Bearer {}" } else { "{}" };
    Some(CredentialPlace::Header {
        name: header.unwrap_or_else(|| HeaderName::new("authorization"))?,
        format: format.unwrap_or_else(|| CredentialFormat::new(usual))?,
    })
}

fn placeholder_name(text: &str) -> Result<EnvName, &'static str> {
    match env_name(text) {
        Ok(name) if NEEDED.contains(&name.as_str()) => Err("programs need this variable's real value"),
        name => name,
    }
}
