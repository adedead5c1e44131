//! Secrets Manager against the test kit's server, and against moto, which verifies signatures.

use std::{collections::HashMap, ffi::OsString, time::Duration};

use chiton_testkit::{
    TestCa,
    aws::{AwsMode, AwsServer},
};

use super::{AwsError, AwsSecrets, AwsSettings, Variables};
use crate::{Fault, Fetched, Reach, SecretStore, ServerRoots};

pub(crate) const KEY: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "the/secret+key")];

pub(crate) fn variables(pairs: &[(&str, &str)]) -> Variables {
    let all: HashMap<String, OsString> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
    Variables::of(move |name| all.get(name).cloned())
}

pub(crate) fn settings(server: &AwsServer) -> AwsSettings {
    AwsSettings {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(server.url().parse().unwrap()),
        profile: None,
        reach: Reach {
            roots: ServerRoots::Only(Vec::new()),
            resolve: [].into(),
            timeout: Duration::from_secs(10),
        },
        refresh: Duration::from_secs(300),
        keep: Duration::from_secs(3600),
    }
}

/// With a key in the environment that the server takes.
pub(crate) fn secrets(server: &AwsServer) -> AwsSecrets {
    server.key("AKIDEXAMPLE");
    AwsSecrets::new(settings(server), variables(&KEY))
}

async fn fetch(aws: &AwsSecrets, reference: &str) -> Result<Fetched, Fault> {
    aws.fetch(&reference.parse().unwrap()).await
}

pub(crate) async fn value(aws: &AwsSecrets, reference: &str) -> String {
    let fetched = fetch(aws, reference).await.unwrap();
    String::from_utf8(fetched.value.dangerous_expose().to_vec()).unwrap()
}

pub(crate) async fn said(aws: &AwsSecrets, reference: &str) -> (String, Fault) {
    let fault = fetch(aws, reference).await.unwrap_err();
    let text = fault.to_string();
    for secret in ["sk-", "secret+key", "secret/key", "token/", "\n"] {
        assert!(!text.contains(secret) && !format!("{fault:?}").contains(secret), "{fault:?}");
    }
    (text, fault)
}

#[tokio::test]
async fn names_fields_versions_and_bytes() {
    let server = AwsServer::plain();
    server.put("/team/key", "sk-older").put("/team/key", r#"{"key":"sk-in-aws","n":1}"#);
    server.put_binary("bytes", b"sk-binary");
    let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:team/key-AbCdEf";
    server.put(arn, "sk-by-arn");
    let aws = secrets(&server);
    assert_eq!(value(&aws, "aws-sm:///team/key#key").await, "sk-in-aws");
    assert_eq!(value(&aws, "aws-sm:///team/key?stage=AWSPREVIOUS").await, "sk-older");
    assert_eq!(value(&aws, "aws-sm://bytes").await, "sk-binary");
    assert_eq!(value(&aws, &format!("aws-sm://{arn}")).await, "sk-by-arn");
    let fetched = fetch(&aws, "aws-sm:///team/key#key").await.unwrap();
    assert!(fetched.written.is_some() && fetched.lifetime.unwrap().valid.as_secs() == 3600);
    for (reference, part) in [
        ("aws-sm:///team/key#other", "no field `other`"),
        ("aws-sm:///team/key#n", "a number"),
        ("aws-sm://never", "no such secret"),
        ("aws-sm:///team/key?stage=NEVER", "this version"),
        ("aws-sm:///team/key?stage=AWSPREVIOUS#key", "no JSON object"),
    ] {
        let (text, fault) = said(&aws, reference).await;
        assert!(text.contains(part) && fault.is_final(), "{reference}: {text}");
    }
    server.delete("bytes");
    let (text, fault) = said(&aws, "aws-sm://bytes").await;
    assert!(text.contains("marked for deletion") && fault.is_final(), "{text}");
}

#[tokio::test]
async fn what_passes_is_not_final() {
    let server = AwsServer::plain();
    server.put("key", "sk-in-aws");
    let aws = secrets(&server);
    for (mode, part) in [
        (AwsMode::Throttling(7), "limits how often"),
        (AwsMode::Failing, "failed (500)"),
        (AwsMode::Denying, "secretsmanager:GetSecretValue"),
        (AwsMode::Odd, "published interface"),
    ] {
        server.set_mode(mode);
        let (text, fault) = said(&aws, "aws-sm://key").await;
        assert!(text.contains(part) && !fault.is_final(), "{text}");
        let after = matches!(mode, AwsMode::Throttling(_)).then_some(Duration::from_secs(7));
        assert_eq!(fault.retry_after(), after);
    }
    server.set_mode(AwsMode::Slow);
    let mut hasty = settings(&server);
    hasty.reach.timeout = Duration::from_millis(200);
    let (text, fault) = said(&AwsSecrets::new(hasty, variables(&KEY)), "aws-sm://key").await;
    assert!(text.contains("within 200 ms") && !fault.is_final(), "{text}");
    let address = server.address();
    drop(server);
    let (text, fault) = said(&aws, "aws-sm://key").await;
    assert!(text.contains(&address.to_string()) && !fault.is_final(), "{text}");
}

#[tokio::test]
async fn where_is_told_in_many_ways_and_never_guessed() {
    let server = AwsServer::plain();
    server.put("key", "sk-in-aws").key("AKIDEXAMPLE");
    let with = |told: AwsSettings, more: &[(&str, &str)]| {
        AwsSecrets::new(told, variables(&[&KEY[..], more].concat()))
    };
    let bare = AwsSettings { region: None, endpoint: None, ..settings(&server) };
    let url = server.url();
    let (text, _) = said(&with(bare.clone(), &[]), "aws-sm://key").await;
    assert!(text.contains("`[aws] region`"), "{text}");
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"] {
        for region in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            let aws = with(bare.clone(), &[(name, &url), (region, "eu-central-1")]);
            assert_eq!(value(&aws, "aws-sm://key").await, "sk-in-aws");
        }
    }
    let clear = [("AWS_ENDPOINT_URL", "http://aws.corp"), ("AWS_REGION", "eu-central-1")];
    let (text, _) = said(&with(bare.clone(), &clear), "aws-sm://key").await;
    assert!(text.contains("`AWS_ENDPOINT_URL`") && text.contains("in the clear"), "{text}");
    let (text, _) = said(&with(bare.clone(), &[("AWS_REGION", "x/y.corp")]), "aws-sm://key").await;
    assert!(text.contains("us-east-1"), "{text}");
    // Amazon's own server is asked by TLS: what is no TLS there is no answer.
    let mut told = bare;
    told.region = Some("eu-central-1".to_owned());
    told.reach.roots = ServerRoots::Only(vec![TestCa::new().pem().to_owned()]);
    let own = "secretsmanager.eu-central-1.amazonaws.com:443";
    told.reach.resolve = [(own.to_owned(), server.address())].into();
    let (text, _) = said(&with(told, &[]), "aws-sm://key").await;
    assert!(text.contains(own), "{text}");
    assert_eq!(server.asked(), 4);
}

#[tokio::test]
async fn credentials_that_are_not_taken_are_had_anew_once() {
    let server = AwsServer::plain();
    server.put("key", "sk-in-aws").instance("role-1");
    let endpoint = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url())];
    let endpoint = [(endpoint[0].0, endpoint[0].1.as_str())];
    let aws = AwsSecrets::new(settings(&server), variables(&endpoint));
    assert_eq!(value(&aws, "aws-sm://key").await, "sk-in-aws");
    assert_eq!(value(&aws, "aws-sm://key").await, "sk-in-aws");
    assert_eq!(server.made(), 1, "kept while they hold");
    server.revoke_all();
    assert_eq!(value(&aws, "aws-sm://key").await, "sk-in-aws");
    assert_eq!(server.made(), 2);
    // A key that does not end is the operator's matter.
    server.revoke_all();
    let (text, fault) = said(&AwsSecrets::new(settings(&server), variables(&KEY)), "aws-sm://key").await;
    assert!(matches!(fault, Fault::Aws(AwsError::Refused("UnrecognizedClientException"))), "{text}");
}
