//! The reference policy with its key in AWS Secrets Manager, and with one that a command tells, from inside a sandbox.
//!
//! AWS is moto, which verifies the signature and what the key may; what it cannot be, slow or limiting, is the test kit's.

use std::{
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

use chiton_testkit::{
    aws::{AwsMode, AwsServer},
    routes::Router,
};
use chiton_tests::{As, REFERENCE, World, finish, packages};

use crate::server::{Server, until};

const FIRST: &str = "sk-aws-first-3f0c9e7d5b1a2846";
const SECOND: &str = "sk-aws-second-84a2617b5d9e3c0f";

/// Asks again and again until it is told to stop, then looks for what it must not find.
const ASK: &str = "while [ ! -e stop ]; do curl -sS -o answer -w '%{http_code}\\n' -H 'Authorization: Bearer mine' \
    -X POST -d '{}' https://api.openai.com/v1/chat/completions; cat answer >> all; sleep 0.1; done; \
    env; cat all; grep -rs sk-aws /proc/*/environ /workspace /tmp";

/// A user who may read and write secrets, and one secret: four questions, which nobody has to sign.
const MAKE: &str = "import boto3, json, sys
url, value = sys.argv[1:]
of = lambda name, **more: boto3.client(name, endpoint_url=url, region_name='us-east-1', **more)
anybody = dict(aws_access_key_id='x', aws_secret_access_key='y')
iam = of('iam', **anybody)
iam.create_user(UserName='chiton')
key = iam.create_access_key(UserName='chiton')['AccessKey']
allow = [{'Effect': 'Allow', 'Action': 'secretsmanager:*', 'Resource': '*'}]
iam.put_user_policy(UserName='chiton', PolicyName='p', PolicyDocument=json.dumps({'Version': '2012-10-17', 'Statement': allow}))
of('secretsmanager', **anybody).create_secret(Name='team/a@b', SecretString=json.dumps({'key': value, 'other': 1}))
print(key['AccessKeyId'], key['SecretAccessKey'])
";
const CHANGE: &str = "import boto3, json, sys
url, value, id, key = sys.argv[1:]
of = boto3.client('secretsmanager', endpoint_url=url, region_name='us-east-1', aws_access_key_id=id, aws_secret_access_key=key)
of.put_secret_value(SecretId='team/a@b', SecretString=json.dumps({'key': value}))
";

fn python(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("/usr/bin/python3");
    command.env("PYTHONPATH", packages("python")).args(["-c", script]).args(arguments);
    let output = command.output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn moto() -> Server {
    Server::start(|port| {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        command.env("PYTHONPATH", packages("python")).env("INITIAL_NO_AUTH_ACTION_COUNT", "4");
        command
    })
}

struct Asking(World);

impl Asking {
    fn new(sections: &str, variables: &[(&str, &str)]) -> Self {
        let mut world = World::new(As::User, &["api.openai.com"], Router::echo());
        for (name, value) in variables {
            world.chiton.variable(name, value);
        }
        world.chiton.sections(sections);
        Self(world)
    }

    fn start(&self, reference: &str) -> Child {
        let policy = self.0.chiton.policy(&REFERENCE.replace("local://openai", reference));
        let policy = policy.to_str().expect("UTF-8");
        let mut command = self.0.chiton.command(&["run", "--rm", "-p", policy, "--", "sh", "-c", ASK]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("chiton")
    }

    /// The key of the last request that arrived.
    fn last(&self) -> Option<String> {
        let requests = self.0.upstream.requests();
        let last = requests.last()?;
        assert!(!last.contains("mine"), "the agent's own key went out: {last:?}");
        last.header("authorization").map(|key| key.replace("Bearer ", ""))
    }

    /// What it found, with no secret in it or in any file of ours.
    fn stop(&self, child: Child, secrets: &[&str]) -> String {
        self.0.chiton.write_workspace("stop", "");
        let outcome = finish(child, &["run"]);
        for secret in secrets {
            assert!(!outcome.stdout.contains(secret), "{outcome:?}");
            assert_eq!(self.0.chiton.files_holding(secret.as_bytes()), Vec::<std::path::PathBuf>::new());
        }
        assert!(outcome.stdout.contains("OPENAI_API_KEY="), "{outcome:?}");
        outcome.stdout
    }
}

#[test]
fn the_key_of_aws_goes_out_changes_and_never_comes_in() {
    let moto = moto();
    let url = format!("http://{}", moto.1);
    let made = python(MAKE, &[&url, FIRST]);
    let (id, key) = made.trim().split_once(' ').expect("a key");
    let section = format!("\n[aws]\nregion = \"us-east-1\"\nendpoint_url = {url:?}\nrefresh = \"1s\"\n");
    let asking = Asking::new(&section, &[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", key)]);
    let reference = "aws-sm://team/a@b#key";
    let child = asking.start(reference);
    until(|| asking.last().as_deref() == Some(FIRST));
    let _ = python(CHANGE, &[&url, SECOND, id, key]);
    until(|| asking.last().as_deref() == Some(SECOND));
    let tested = asking.0.chiton.run(&["secret", "test", reference, "--json"]).json();
    assert_eq!((&tested["length"], &tested["valid_seconds"]), (&SECOND.len().into(), &3600.into()));
    let before =
        asking.0.chiton.run(&["secret", "test", "aws-sm://team/a@b?stage=AWSPREVIOUS#key", "--json"]);
    assert_eq!(before.json()["length"], FIRST.len());
    for (reference, said) in
        [("aws-sm://team/none", "no such secret"), ("aws-sm://team/a@b#none", "no field `none`")]
    {
        let refused = asking.0.chiton.run(&["secret", "test", reference]).expect_status(1);
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
    let _ = asking.stop(child, &[FIRST, SECOND, key]);
    assert!(!format!("{:?}", asking.0.chiton.audit(&[])).contains("sk-aws"));
}

#[test]
fn a_service_that_limits_closes_the_route_when_the_value_is_too_old() {
    let server = AwsServer::plain();
    server.put("key", FIRST).key("AKIDEXAMPLE");
    let url = server.url();
    let section = format!(
        "\n[aws]\nregion = \"us-east-1\"\nendpoint_url = {url:?}\nrefresh = \"1s\"\nkeep = \"4s\"\ntimeout = \"1s\"\n"
    );
    let key = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "the/secret+key")];
    let asking = Asking::new(&section, &key);
    let child = asking.start("aws-sm://key");
    until(|| asking.last().as_deref() == Some(FIRST));
    let answer = || std::fs::read_to_string(asking.0.chiton.workspace().join("answer")).unwrap_or_default();
    server.set_mode(AwsMode::Throttling(1));
    until(|| answer().contains("credential_unavailable"));
    assert!(!answer().contains("aws-sm://"), "{}", answer());
    let tested = asking.0.chiton.run(&["secret", "test", "aws-sm://key"]).expect_status(1);
    assert!(tested.stderr.contains("limits how often"), "{tested:?}");
    server.set_mode(AwsMode::Slow);
    let tested = asking.0.chiton.run(&["secret", "test", "aws-sm://key"]).expect_status(1);
    assert!(tested.stderr.contains("within 1000 ms"), "{tested:?}");
    server.set_mode(AwsMode::Up).put("key", SECOND);
    until(|| asking.last().as_deref() == Some(SECOND));
    let _ = asking.stop(child, &[FIRST, SECOND]);
}

#[test]
fn what_a_command_tells_goes_out_and_the_policy_says_no_command() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("mode");
    let (program, kept) = (folder.path().join("op"), folder.path().join("kept"));
    let write = |value: &str| std::fs::write(&kept, value).expect("a file");
    write(FIRST);
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = \"read it\" ] && cat {} && exit\necho not signed in >&2\nexit 6\n",
        kept.display()
    );
    std::fs::write(&program, script).expect("a program");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let section = format!(
        "\n[exec.openai]\ncommand = [{program:?}, \"read it\"]\nrefresh = \"1s\"\n[exec.other]\ncommand = [{program:?}]\n"
    );
    let asking = Asking::new(&section, &[]);
    let child = asking.start("exec://openai");
    until(|| asking.last().as_deref() == Some(FIRST));
    write(SECOND);
    until(|| asking.last().as_deref() == Some(SECOND));
    let _ = asking.stop(child, &[FIRST, SECOND]);
    for (reference, said) in [
        ("exec://other", "failed (exit status: 6): not signed in"),
        ("exec://none", "`[exec.none]`"),
        ("exec:///bin/sh", "a name of letters"),
    ] {
        let refused = asking.0.chiton.run(&["secret", "test", reference]).expect_status(1);
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
}
