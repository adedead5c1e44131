//! `boto3` and the AWS CLI with placeholder keys, against moto, which verifies every signature and whose key it is.
//! It cannot for one in a query; those are compared in the proxy's own tests.

use std::process::Command;

use chiton_testkit::routes::Router;
use chiton_tests::{As, Outcome, World, packages};

use super::server::Server;

const HOSTS: [&str; 4] = [
    "sts.eu-central-1.amazonaws.com",
    "s3.eu-central-1.amazonaws.com",
    "files.s3.eu-central-1.amazonaws.com",
    "dynamodb.eu-central-1.amazonaws.com",
];

/// A user who may do everything: three questions, which nobody has to sign.
const MAKE: &str = "import boto3, json, sys
iam = boto3.client('iam', endpoint_url=sys.argv[1], region_name='eu-central-1', aws_access_key_id='x', aws_secret_access_key='y', verify=False)
iam.create_user(UserName='agent')
key = iam.create_access_key(UserName='agent')['AccessKey']
allow = [{'Effect': 'Allow', 'Action': '*', 'Resource': '*'}]
iam.put_user_policy(UserName='agent', PolicyName='p', PolicyDocument=json.dumps({'Version': '2012-10-17', 'Statement': allow}))
print(key['AccessKeyId'] + ':' + key['SecretAccessKey'])
";

const BOTO: &str = r#"
import boto3, gzip, os
print(os.environ["AWS_ACCESS_KEY_ID"], boto3.client("sts").get_caller_identity()["Arn"])
try:
    print(boto3.client("sts").get_session_token()["Credentials"])
except Exception:
    print("no keys")
s3 = boto3.client("s3")
s3.create_bucket(Bucket="files", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
s3.put_object(Bucket="files", Key="a b/\u00fc+x.txt", Body=b"hello " * 1000, Metadata={"note": "two  spaces"})
print(len(s3.get_object(Bucket="files", Key="a b/\u00fc+x.txt")["Body"].read()))
# In parts, up and down.
big = os.urandom(20 << 20)
open("big", "wb").write(big)
s3.upload_file("big", "files", "big")
s3.download_file("files", "big", "back")
print(open("back", "rb").read() == big)
print(s3.get_object(Bucket="files", Key="big", Range="bytes=5-9")["Body"].read() == big[5:10])
# Stored compressed, it comes as it is stored.
packed = gzip.compress(os.urandom(9000))
s3.put_object(Bucket="files", Key="packed", Body=packed, ContentEncoding="gzip")
for part in ({}, {"Range": "bytes=5000-5999"}):
    stored = s3.get_object(Bucket="files", Key="packed", **part)
    print(stored["ContentEncoding"], stored["Body"].read() == (packed[5000:6000] if part else packed))
s3.delete_object(Bucket="files", Key="packed")
print(sorted(entry["Key"] for entry in s3.list_objects_v2(Bucket="files", Prefix="", MaxKeys=9)["Contents"]))
table = boto3.resource("dynamodb").create_table(TableName="t", BillingMode="PAY_PER_REQUEST",
    KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}], AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}])
table.put_item(Item={"k": "v"})
print(table.get_item(Key={"k": "v"})["Item"])
"#;

const CLI: &str = "set -e; aws() { /usr/bin/python3 PACKAGES/bin/aws \"$@\"; }; \
    aws sts get-caller-identity --query Arn --output text; head -c 9000000 /dev/urandom > made; \
    aws s3 cp made s3://files/cli --no-progress; aws s3 cp s3://files/cli got --no-progress; cmp made got; aws s3 ls s3://files/";

struct Amazon {
    /// Ends first.
    _moto: Server,
    world: World,
    key: String,
}

impl Amazon {
    fn new() -> Self {
        let mut world = World::new(As::User, &[], Router::new());
        let (certificate, key) = world.ca.leaf_pem(&HOSTS);
        let files = [("leaf.pem", certificate), ("leaf.key", key)];
        let [certificate, key] = files.map(|(name, text)| world.chiton.write(name, text));
        let moto = Server::start(|port| {
            let mut command = Command::new("/usr/bin/python3");
            command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
            command.arg("-c").arg(&certificate).arg("-k").arg(&key);
            command.env("PYTHONPATH", packages("python")).env("INITIAL_NO_AUTH_ACTION_COUNT", "3");
            command
        });
        for host in HOSTS {
            world.chiton.resolve(&format!("{host}:443"), moto.1);
        }
        let mut make = Command::new("/usr/bin/python3");
        make.env("PYTHONPATH", packages("python")).args(["-W", "ignore", "-c", MAKE]);
        let made = make.arg(format!("https://{}", moto.1)).output().expect("python3");
        assert!(made.status.success(), "{made:?}");
        let key = String::from_utf8(made.stdout).expect("UTF-8").trim().to_owned();
        Self { world, _moto: moto, key }
    }

    fn run(&self, credential: &str, script: &str) -> Outcome {
        let chiton = &self.world.chiton;
        let rules: String = HOSTS
            .iter()
            .map(|host| format!("      - {{host: {host}, methods: ['*']{credential}}}\n"))
            .collect();
        let policy = chiton.policy(&format!(
            "static:\n  filesystem: {{allowed_paths: [/workspace, /tmp]}}\n\
             \x20 process: {{env: {{AWS_DEFAULT_REGION: eu-central-1, AWS_EC2_METADATA_DISABLED: 'true', AWS_MAX_ATTEMPTS: '1'}}}}\n\
             dynamic:\n  network:\n    http:\n{rules}"
        ));
        let (policy, python) = (policy.display().to_string(), packages("python").display().to_string());
        let script = script.replace("PACKAGES", &python);
        let variable = format!("PYTHONPATH={python}");
        chiton.run(&["run", "--rm", "-p", &policy, "-r", &python, "-e", &variable, "--", "sh", "-c", &script])
    }
}

#[test]
fn boto3_and_the_cli_are_signed_by_a_key_that_never_comes_in() {
    let amazon = Amazon::new();
    let world = &amazon.world;
    let mut set = vec!["secret", "set", "aws"];
    set.extend(HOSTS.iter().flat_map(|host| ["--host", host]));
    let _ = world.chiton.run_with(&set, &amazon.key).expect_success();
    let (id, secret) = amazon.key.split_once(':').expect("a key");
    world.chiton.write_workspace("task.py", BOTO);
    let signed = ", credential: {aws: 'local://aws'}";
    let outcome = amazon.run(signed, "/usr/bin/python3 task.py; env; rm big back").expect_success();
    let wanted = "AKIACHITONPLACEHOLDR arn:aws:iam::123456789012:user/agent\nno keys\n6000\nTrue\nTrue\n\
                  gzip True\ngzip True\n\
                  ['a b/\u{fc}+x.txt', 'big']\n{'k': 'v'}\n";
    assert!(outcome.stdout.starts_with(wanted), "{outcome:?}");
    let refused = world.chiton.audit(&["--reason", "credential_unavailable"]);
    assert_eq!(refused.len(), 1, "STS answers with keys: {refused:#?}");
    let cli = amazon.run(signed, CLI).expect_success();
    assert!(cli.stdout.starts_with("arn:aws:iam::123456789012:user/agent\n"), "{cli:?}");
    assert!(cli.stdout.contains("9000000 cli"), "{cli:?}");
    for outcome in [&outcome, &cli] {
        assert!(!outcome.stdout.contains(id) && !outcome.stdout.contains(secret), "{outcome:?}");
    }
    assert_eq!(world.chiton.files_holding(secret.as_bytes()), Vec::<std::path::PathBuf>::new());
}

/// That moto tells: nobody's key, and a key that is not quite right, get nowhere.
#[test]
fn neither_a_placeholder_nor_another_key_is_taken() {
    let amazon = Amazon::new();
    let set = |name: &str, key: &str| {
        let _ = amazon.world.chiton.run_with(&["secret", "set", name], key).expect_success();
    };
    set("wrong", &format!("{}x", amazon.key));
    let ask = "/usr/bin/python3 -c 'import boto3; print(boto3.client(\"sts\").get_caller_identity())'";
    let with = |credential: &str| amazon.run(credential, ask);
    let wrong = with(", credential: {aws: 'local://wrong'}");
    assert!(wrong.status != 0 && wrong.stderr.contains("SignatureDoesNotMatch"), "{wrong:?}");
    let none =
        amazon.run("", &format!("AWS_ACCESS_KEY_ID=AKIACHITONPLACEHOLDR AWS_SECRET_ACCESS_KEY=x {ask}"));
    assert!(none.status != 0 && none.stderr.contains("InvalidClientTokenId"), "{none:?}");
}
