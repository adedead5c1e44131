//! Credentials in requests: the caller's are taken out, the backend's is put in.

use std::borrow::Cow;

use chiton_policy::ProviderFacts;
use chiton_secret::SecretValue;
use http::{HeaderMap, HeaderName, HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use zeroize::Zeroizing;

/// Where a name says that a credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a field of this name.
    Field,
    /// In a parameter of the query.
    Parameter,
    /// In both.
    Both,
    /// In both, and in names that end so.
    End,
}

/// The names by which callers send credentials, in small letters and digits alone: `X-Api_Key`, `apiKey`, `api.key[]` and
/// `api-key` are all `apikey`, in whatever case, and with or without an `x` before it.
const NAMES: [(&str, At); 65] = [
    ("accesskey", At::Both),
    ("accesskeyid", At::Both),
    ("accesstoken", At::End),
    ("accountkey", At::Both),
    ("amzcredential", At::Parameter),
    ("amzsignature", At::Parameter),
    ("apikey", At::End),
    ("apisecret", At::Both),
    ("apitoken", At::End),
    ("appkey", At::Both),
    ("applicationkey", At::End),
    ("appsecret", At::Both),
    ("assertion", At::Parameter),
    ("auth", At::Both),
    ("authkey", At::Both),
    ("authorization", At::End),
    ("authtoken", At::End),
    ("awsaccesskeyid", At::Both),
    ("bearer", At::Both),
    ("bearertoken", At::Both),
    ("circletoken", At::Field),
    ("clientassertion", At::Both),
    ("clientsecret", At::End),
    ("consumerkey", At::Both),
    ("consumersecret", At::Both),
    ("cookie", At::Field),
    ("cookie2", At::Field),
    ("credential", At::Both),
    ("credentials", At::Both),
    ("deploytoken", At::Both),
    ("figmatoken", At::Field),
    ("functionskey", At::Field),
    ("googcredential", At::Parameter),
    ("googleaccessid", At::Parameter),
    ("googsignature", At::Parameter),
    ("gitlabtoken", At::Both),
    ("githubtoken", At::Both),
    ("idtoken", At::Both),
    ("jobtoken", At::Both),
    ("jwt", At::Both),
    ("jwtassertion", At::Both),
    ("key", At::Parameter),
    ("oauthsignature", At::Parameter),
    ("oauthtoken", At::Both),
    ("passphrase", At::Both),
    ("passwd", At::Both),
    ("password", At::End),
    ("personalaccesstoken", At::Both),
    ("plextoken", At::Both),
    ("privatekey", At::Both),
    ("privatetoken", At::Both),
    ("pwd", At::Parameter),
    ("refreshtoken", At::Both),
    ("secret", At::Both),
    ("secretkey", At::End),
    ("securitytoken", At::End),
    ("sessionkey", At::Both),
    ("sessiontoken", At::End),
    ("sig", At::Parameter),
    ("signature", At::Both),
    ("signatureinput", At::Field),
    ("subscriptionkey", At::End),
    ("token", At::Both),
    ("usertoken", At::Both),
    ("vaulttoken", At::Field),
];

/// No name is longer; nor is one that ends like one compared before its last bytes.
const LONGEST: usize = 64;

/// WebSocket subprotocols whose names hold a credential: of browsers' clients, which can set no header.
const SUBPROTOCOLS: [&str; 7] = [
    "base64url.bearer.authorization.",
    "openai-insecure-api-key.",
    "bearer.",
    "bearer-",
    "access_token.",
    "authorization.",
    "token.",
];

/// The value cannot stand in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential cannot be sent: it holds a line break or another character that no header may have")]
pub struct InjectError;

/// Removes every header that may hold a credential; how many there were.
pub fn strip_headers(headers: &mut HeaderMap) -> usize {
    let before = headers.len();
    let named = |name: &&HeaderName| is_named(name.as_str().as_bytes(), At::Field);
    for name in headers.keys().filter(named).cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
    if headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        strip_subprotocols(headers);
    }
    before - headers.len()
}

/// Removes the subprotocols that are credentials, and those that a name like `bearer` says to follow.
fn strip_subprotocols(headers: &mut HeaderMap) {
    let all = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let all = all.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let (mut kept, mut announced, mut stripped) = (Vec::new(), false, false);
    for protocol in all.filter(|protocol| !protocol.is_empty()) {
        let announces = is_named(protocol, At::Field) || is_named(protocol, At::Parameter);
        let holds = SUBPROTOCOLS.iter().any(|begin| {
            protocol.get(..begin.len()).is_some_and(|start| start.eq_ignore_ascii_case(begin.as_bytes()))
        });
        if announced || announces || holds {
            stripped = true;
        } else {
            kept.push(protocol);
        }
        announced = announces && !announced;
    }
    if !stripped {
        return;
    }
    let kept = HeaderValue::from_bytes(&kept.join(&b", "[..])).ok().filter(|kept| !kept.is_empty());
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Some(kept) = kept {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, kept);
    }
}

/// Whether the table has the name for this place, or what it is without `x`.
fn is_named(name: &[u8], at: At) -> bool {
    // What stands in brackets parts an array (`token[0]`).
    let name = name.split(|byte| *byte == b'[').next().unwrap_or_default();
    let mut buffer = [0; LONGEST];
    let mut length = 0;
    for byte in name.iter().rev().filter(|byte| byte.is_ascii_alphanumeric()) {
        let Some(place) = buffer.iter_mut().rev().nth(length) else { break };
        *place = byte.to_ascii_lowercase();
        length += 1;
    }
    let name = buffer.get(LONGEST - length..).unwrap_or_default();
    let bare = name.strip_prefix(b"x").unwrap_or(name);
    NAMES.iter().any(|(known, place)| {
        let known = known.as_bytes();
        match place {
            At::End => name.ends_with(known),
            At::Both => known == name || known == bare,
            At::Field | At::Parameter => *place == at && (known == name || known == bare),
        }
    })
}

/// A query (without `?`) without the parameters that may hold a credential, and without this one; otherwise as it was.
#[must_use]
pub fn strip_query<'a>(query: &'a str, own: Option<&str>) -> Cow<'a, str> {
    let is_credential = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let name = decoded(name);
        is_named(&name, At::Parameter) || own.is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(&name))
    };
    // Some servers still part parameters by `;`.
    let tainted = |pair: &str| pair.split(';').any(is_credential);
    if !query.split('&').any(tainted) {
        return Cow::Borrowed(query);
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !tainted(pair)).collect();
    Cow::Owned(kept.join("&"))
}

/// Puts the backend's credential where the provider wants it, in place of whatever is there.
///
/// # Errors
/// When the value cannot stand in a header.
pub fn inject(
    facts: &ProviderFacts,
    headers: &mut HeaderMap,
    value: &SecretValue,
) -> Result<(), InjectError> {
    let name = HeaderName::from_bytes(facts.key_header.as_bytes()).map_err(|_| InjectError)?;
    inject_header(headers, name, facts.key_prefix, value)
}

/// Sets a header to a prefix and the value, in place of every value that it had; marked so that no log
/// and no header compression table shows it.
///
/// # Errors
/// When the value cannot stand in a header.
pub fn inject_header(
    headers: &mut HeaderMap,
    name: HeaderName,
    prefix: &str,
    value: &SecretValue,
) -> Result<(), InjectError> {
    let mut whole = Zeroizing::new(Vec::with_capacity(prefix.len() + value.len()));
    whole.extend_from_slice(prefix.as_bytes());
    whole.extend_from_slice(value.dangerous_expose());
    let mut whole = HeaderValue::from_bytes(&whole).map_err(|_| InjectError)?;
    whole.set_sensitive(true);
    headers.insert(name, whole);
    Ok(())
}

fn decoded(name: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = name.bytes();
    let mut plain = Vec::with_capacity(name.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        match (byte, ahead.next().and_then(digit), ahead.next().and_then(digit)) {
            (b'%', Some(high), Some(low)) => {
                plain.push(high << 4 | low);
                bytes = ahead;
            }
            (byte, _, _) => plain.push(byte),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use chiton_policy::Provider;

    use super::*;

    #[test]
    fn every_place_and_repetition_is_stripped() {
        let mut headers = HeaderMap::new();
        for name in [
            "Authorization",
            "AUTHORIZATION",
            "x-API-key",
            "Api-Key",
            "Cookie",
            "Proxy-Authorization",
            "accept",
        ] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("v"));
        }
        assert_eq!(strip_headers(&mut headers), 6);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn query_parameters_are_stripped_however_they_are_written() {
        assert_eq!(strip_query("a=1&b=%20", None), "a=1&b=%20");
        assert_eq!(strip_query("a=1&KEY=x&b=2&%6bey=y&api%5Fkey=z&api-key&c", None), "a=1&b=2&c");
        assert_eq!(strip_query("key=x", None), "");
        assert_eq!(strip_query("a=1;key=2&b", None), "b");
        assert_eq!(strip_query("monkey=1&keys=2", None), "monkey=1&keys=2");
        assert_eq!(strip_query("a=1&Mine=x&b&m%69ne=2", Some("mine")), "a=1&b");
    }

    /// A name of the table as programs spell it.
    fn spellings(name: &str) -> Vec<String> {
        let mut all =
            vec![name.to_owned(), name.to_ascii_uppercase(), format!("x-{name}"), format!("X_{name}")];
        let half = name.len() / 2;
        all.extend(["-", "_", "."].map(|mark| format!("{}{mark}{}", &name[..half], &name[half..])));
        all
    }

    #[test]
    fn every_name_of_the_table_is_stripped_in_every_spelling_where_it_stands() {
        for (name, at) in NAMES {
            let (field, parameter) = (at != At::Parameter, at != At::Field);
            for spelling in spellings(name) {
                let mut headers = HeaderMap::new();
                headers.append(
                    HeaderName::from_bytes(spelling.as_bytes()).unwrap(),
                    HeaderValue::from_static("v"),
                );
                assert_eq!(strip_headers(&mut headers) == 1, field, "{spelling}");
                for pair in [
                    format!("{spelling}=v"),
                    format!("{spelling}[]=v"),
                    format!("{spelling}%5B0%5D=v"),
                    spelling.clone(),
                ] {
                    let query = format!("a=1&{pair}&b=2");
                    let wanted = if parameter { "a=1&b=2" } else { &query };
                    assert_eq!(strip_query(&query, None), wanted);
                }
            }
        }
        assert!(
            NAMES.iter().all(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
        );
    }

    #[test]
    fn what_was_stripped_and_what_merely_looks_alike() {
        for name in [
            "proxy-authorization",
            "api-key",
            "x-goog-api-key",
            "x-auth-token",
            "x-access-token",
            "x-auth-key",
            "x-vault-token",
            "private-token",
            "job-token",
            "deploy-token",
            "dd-api-key",
            "xi-api-key",
            "ocp-apim-subscription-key",
            "x-functions-key",
            "x-amz-security-token",
            "openai-api-key",
            "x-shopify-access-token",
            "dd-application-key",
        ] {
            assert!(is_named(name.as_bytes(), At::Field), "{name}");
        }
        for name in [
            "accept",
            "idempotency-key",
            "sec-websocket-key",
            "content-type",
            "x-request-id",
            "key",
            "etag",
            "if-match",
            "user-agent",
            "x-csrf-token",
            "grpc-timeout",
            "anthropic-version",
            "openai-organization",
            "www-authenticate",
        ] {
            assert!(!is_named(name.as_bytes(), At::Field), "{name}");
        }
        for name in [
            "page_token",
            "pageToken",
            "next_token",
            "keys",
            "monkey",
            "sort_key",
            "signal",
            "author",
            "q",
            "",
            "x",
        ] {
            assert!(!is_named(name.as_bytes(), At::Parameter), "{name}");
        }
    }

    #[test]
    fn subprotocols_that_are_credentials_are_stripped() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("sec-websocket-protocol", value.parse().unwrap());
            }
            strip_headers(&mut headers);
            headers.get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(
            of(&["realtime, openai-insecure-api-key.sk-mine, openai-beta.realtime-v1"]).unwrap(),
            "realtime, openai-beta.realtime-v1"
        );
        assert_eq!(
            of(&["base64url.bearer.authorization.k8s.io.bWluZQ, v4.channel.k8s.io"]).unwrap(),
            "v4.channel.k8s.io"
        );
        assert_eq!(of(&["Bearer, mine, chat", "access_token", "mine"]).unwrap(), "chat");
        assert_eq!(of(&["chat, bearer", "mine, mqtt"]).unwrap(), "chat, mqtt");
        assert_eq!(of(&["authorization, mine"]), None);
        assert_eq!(of(&["graphql-transport-ws,  chat"]).unwrap(), "graphql-transport-ws,  chat");
    }

    #[test]
    fn what_is_injected_is_alone_and_marked() {
        let value = SecretValue::new(b"sk-backend".to_vec());
        let broken = SecretValue::new(b"a\r\nx: y".to_vec());
        for facts in Provider::ALL.map(Provider::facts) {
            let mut headers = HeaderMap::new();
            for mine in ["mine", "also mine"] {
                headers.append(facts.key_header, HeaderValue::from_static(mine));
            }
            inject(facts, &mut headers, &value).unwrap();
            let all: Vec<_> = headers.get_all(facts.key_header).iter().collect();
            assert_eq!(all, [&format!("{}sk-backend", facts.key_prefix)]);
            assert!(all[0].is_sensitive());
            assert!(!format!("{headers:?}").contains("backend"));
            assert_eq!(inject(facts, &mut headers, &broken), Err(InjectError));
        }
    }

    #[test]
    fn a_callers_key_is_stripped_wherever_a_provider_takes_one() {
        let all = || Provider::ALL.into_iter().map(Provider::facts);
        for facts in all() {
            for name in [facts.key_header.to_owned(), facts.key_header.to_ascii_uppercase()] {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                let mut headers = HeaderMap::new();
                headers.append(&name, HeaderValue::from_static("mine"));
                headers.append(&name, HeaderValue::from_static("mine too"));
                assert_eq!(strip_headers(&mut headers), 2, "{name}");
            }
            if let Some(name) = facts.key_parameter {
                assert_eq!(strip_query(&format!("a=1&{name}=mine&{name}=too"), None), "a=1");
            }
        }
        assert!(all().any(|facts| facts.key_parameter.is_some()));
    }
}
