//! Every place that credentials come from, against small servers.

use std::{path::Path, time::Duration};

use chiton_testkit::aws::AwsServer;
use tempfile::TempDir;

use super::{
    super::{
        AwsSecrets, AwsSettings,
        tests::{KEY, said, settings, value, variables},
    },
    ChainError,
};
use crate::conformance::write_private;

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

struct Host {
    server: AwsServer,
    folder: TempDir,
}

impl Host {
    fn new() -> Self {
        let server = AwsServer::plain();
        server.put("key", "sk-in-aws").key("AKIDEXAMPLE");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".aws")).unwrap();
        Self { server, folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        write_private(&path, text);
        path.to_str().unwrap().to_owned()
    }

    fn settings(&self) -> AwsSettings {
        settings(&self.server)
    }

    /// With these, a home, and no instance.
    fn with(&self, settings: AwsSettings, more: &[(&str, &str)]) -> AwsSecrets {
        let home = self.path().to_str().unwrap();
        let own = [("HOME", home), ("AWS_EC2_METADATA_DISABLED", "TRUE")];
        AwsSecrets::new(settings, variables(&[&own[..], more].concat()))
    }

    async fn gets(&self, more: &[(&str, &str)]) {
        assert_eq!(value(&self.with(self.settings(), more), "aws-sm://key").await, "sk-in-aws", "{more:?}");
    }

    async fn says(&self, more: &[(&str, &str)], parts: &[&str]) {
        let (text, fault) = said(&self.with(self.settings(), more), "aws-sm://key").await;
        assert!(!fault.is_final() && parts.iter().all(|part| text.contains(part)), "{more:?}: {text}");
    }
}

#[tokio::test]
async fn of_the_environment_or_nowhere() {
    let host = Host::new();
    host.gets(&KEY).await;
    host.says(&KEY[..1], &["lack `AWS_SECRET_ACCESS_KEY`"]).await;
    host.says(&KEY[1..], &["lack `AWS_ACCESS_KEY_ID`"]).await;
    host.says(&[], &["no AWS credentials are found", "`default`", "AWS_EC2_METADATA_DISABLED"]).await;
    let gone =
        [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")];
    host.says(&gone, &["no AWS credentials are found", "127.0.0.1:1"]).await;
}

#[tokio::test]
async fn of_the_shared_files() {
    let host = Host::new();
    host.write(".aws/credentials", "[default]\naws_access_key_id=AKIDEXAMPLE\naws_secret_access_key=the/secret+key\n[half]\naws_access_key_id=AKID\n");
    host.gets(&[]).await;
    host.says(&[("AWS_PROFILE", "half")], &["profile `half` lacks `aws_secret_access_key`"]).await;
    host.says(&[("AWS_PROFILE", "none")], &["no AWS profile `none`"]).await;
    // Other files, and another profile.
    let config = host.write("other", "[profile team]\nregion=eu-west-1\n[profile sso]\nsso_session=x\n[profile run]\ncredential_process=/bin/x\n");
    let keys =
        host.write("keys", "[team]\naws_access_key_id=AKIDEXAMPLE\naws_secret_access_key=the/secret+key\n");
    let files = [("AWS_CONFIG_FILE", config.as_str()), ("AWS_SHARED_CREDENTIALS_FILE", keys.as_str())];
    let with = |name| [files[0], files[1], ("AWS_PROFILE", name)];
    host.gets(&with("team")).await;
    host.says(&with("sso"), &["profile `sso` uses `sso_session`", "not supported"]).await;
    host.says(&with("run"), &["profile `run` uses `credential_process`", "[exec.NAME]"]).await;
    // Its region is used where nobody else says one.
    let mut settings = host.settings();
    settings.region = None;
    assert_eq!(value(&host.with(settings.clone(), &with("team")), "aws-sm://key").await, "sk-in-aws");
    // One that config.toml names is the only place.
    settings.profile = Some("team".to_owned());
    let wrong = [KEY[0], ("AWS_SECRET_ACCESS_KEY", "x"), files[0], files[1]];
    assert_eq!(value(&host.with(settings.clone(), &wrong), "aws-sm://key").await, "sk-in-aws");
    settings.profile = Some("default".to_owned());
    let (text, _) = said(&host.with(settings, &[KEY[0], KEY[1], files[0], files[1]]), "aws-sm://key").await;
    assert!(text.contains("no AWS profile `default`"), "{text}");
    host.write(".aws/config", "region = x\n");
    host.says(&[], &[".aws/config`, line 1"]).await;
    std::fs::remove_file(host.path().join(".aws/config")).unwrap();
    std::fs::create_dir(host.path().join(".aws/config")).unwrap();
    host.says(&[], &[".aws/config` cannot be read", "not a regular file"]).await;
}

#[tokio::test]
async fn a_role_by_another_profile() {
    let host = Host::new();
    host.server.role(ROLE, "AKIDEXAMPLE");
    let config = |rest: &str| {
        host.write(".aws/config", &format!("[default]\nrole_arn = {ROLE}\n{rest}"));
    };
    let keys = "aws_access_key_id=AKIDEXAMPLE\naws_secret_access_key=the/secret+key\n";
    config(&format!("source_profile = base\nexternal_id = x\n[profile base]\n{keys}"));
    host.gets(&[]).await;
    config(&format!("source_profile = default\n{keys}"));
    host.gets(&[]).await;
    config("credential_source = Environment\n");
    host.says(&[("AWS_PROFILE", "default")], &["profile `default` has no credentials"]).await;
    assert_eq!(host.server.made(), 2);
    config("source_profile = a\n[profile a]\nrole_arn = x\nsource_profile = default\n");
    host.says(&[], &["profile `default` leads to itself"]).await;
    config("");
    host.says(&[], &["lacks `source_profile`"]).await;
    config("mfa_serial = x\nsource_profile = base\n");
    host.says(&[], &["`mfa_serial`", "not supported"]).await;
    config(&format!("source_profile = base\n[profile base]\n{keys}"));
    host.server.give_none(true);
    host.says(&[], &["AWS STS does not give AWS credentials (403, AccessDenied)"]).await;
}

#[tokio::test]
async fn by_a_web_identity() {
    let host = Host::new();
    host.server.role(ROLE, "jwt.of.pod");
    let file = host.write("token", "jwt.of.pod\n");
    let pod = [("AWS_ROLE_ARN", ROLE), ("AWS_WEB_IDENTITY_TOKEN_FILE", file.as_str())];
    host.gets(&pod).await;
    host.says(&pod[1..], &["lack `AWS_ROLE_ARN`"]).await;
    host.write("token", "jwt.of.another");
    host.says(&pod, &["AWS STS does not give"]).await;
    std::fs::remove_file(&file).unwrap();
    host.says(&pod, &["cannot be read"]).await;
    host.write("token", "jwt.of.pod");
    host.write(".aws/config", &format!("[default]\nrole_arn={ROLE}\nweb_identity_token_file={file}\n"));
    host.gets(&[]).await;
}

#[tokio::test]
async fn of_a_containers_agent() {
    let host = Host::new();
    host.server.agent("agents-token");
    let url = format!("{}/agent", host.server.url());
    let token = host.write("token", "agents-token\n");
    let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str());
    host.gets(&[full, ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "agents-token")]).await;
    // The file is the one that counts.
    let file = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.as_str());
    host.gets(&[full, file, ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "old")]).await;
    host.says(&[full], &["the container's agent does not give AWS credentials (401)"]).await;
    let far = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://agent.corp/agent");
    host.says(&[far, file], &["`AWS_CONTAINER_CREDENTIALS_FULL_URI`", "no credentials are taken"]).await;
    let mut settings = host.settings();
    settings.reach.resolve = [("169.254.170.2:80".to_owned(), host.server.address())].into();
    let aws = host.with(settings, &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/agent"), file]);
    assert_eq!(value(&aws, "aws-sm://key").await, "sk-in-aws");
}

#[tokio::test]
async fn of_the_instance_by_a_sessions_token() {
    let host = Host::new();
    let url = host.server.url();
    let there = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    host.says(&there, &["the instance's metadata does not give AWS credentials (404)"]).await;
    host.server.instance("role-1");
    host.gets(&there).await;
    let far = [there[0], ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://meta.corp")];
    host.says(&far, &["`AWS_EC2_METADATA_SERVICE_ENDPOINT`"]).await;
    let mut settings = host.settings();
    settings.reach.resolve = [("169.254.169.254:80".to_owned(), host.server.address())].into();
    assert_eq!(value(&host.with(settings, &there[..1]), "aws-sm://key").await, "sk-in-aws");
}

/// So many seconds pass. Between, the clock goes on as it does, since sockets do not wait for one that stands.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn kept_till_shortly_before_they_end_and_asked_for_once() {
    let host = Host::new();
    host.server.instance("role-1").set_holds(3000);
    let url = host.server.url();
    let there = [("AWS_EC2_METADATA_DISABLED", "false"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let aws = host.with(host.settings(), &there);
    let (one, other) = tokio::join!(aws.chain().credentials(), aws.chain().credentials());
    assert_eq!(one.unwrap(), other.unwrap());
    assert_eq!(host.server.made(), 1, "one asker for all");
    let id = async || aws.chain().credentials().await.map(|credentials| credentials.access_key_id);
    pass(2800).await;
    assert_eq!(id().await.unwrap(), "ASIA2", "had anew before they end");
    // Due, and not given: those at hand are used while they hold.
    host.server.give_none(true);
    pass(2800).await;
    assert_eq!(id().await.unwrap(), "ASIA2");
    pass(300).await;
    let error = id().await.unwrap_err();
    assert!(matches!(error, ChainError::Refused { .. }), "{error}");
    host.server.give_none(false);
    assert_eq!(id().await.unwrap(), "ASIA3");
}
