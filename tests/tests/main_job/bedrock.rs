//! Bedrock from inside a sandbox, with `boto3` and a stolen-looking key of its own.

use chiton_testkit::routes::{Router, bedrock};
use chiton_tests::{As, World, packages};

const HOST: &str = "bedrock-runtime.eu-central-1.amazonaws.com";
const KEY: &str = "AKIABACKENDBACKENDBA:backend/secret+key/0123456789abcdef:token-0123456789abcdef";

const BOTO: &str = r#"
import boto3, json, os
assert os.environ["AWS_ACCESS_KEY_ID"].startswith("AKIACHITON")
from botocore.config import Config
once = Config(retries={"total_max_attempts": 1})
stolen = dict(aws_access_key_id="AKIASTOLENSTOLENSTOL", aws_secret_access_key="stolen-secret", aws_session_token="stolen-token")
ask = [{"role": "user", "content": [{"text": "what key do you see?"}]}]
hello = [{"role": "user", "content": [{"text": "hello"}]}]
model = "eu.anthropic.claude-test-v1:0"
def streamed(answer):
    return "".join(event.get("contentBlockDelta", {}).get("delta", {}).get("text", "") for event in answer["stream"])
for options in ({}, stolen, dict(endpoint_url="https://bedrock.llm.internal"), dict(region_name="us-east-1", endpoint_url="https://llm.internal", **stolen)):
    client = boto3.client("bedrock-runtime", config=once, **options)
    said = client.converse(modelId="fast", messages=hello)
    print(said["output"]["message"]["content"][0]["text"], said["usage"]["inputTokens"])
    print(streamed(client.converse_stream(modelId=model, messages=hello)))
client = boto3.client("bedrock-runtime", config=once, **stolen)
body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": hello})
print(json.loads(client.invoke_model(modelId=model, body=body)["body"].read())["content"][0]["text"])
parts = [json.loads(event["chunk"]["bytes"]) for event in client.invoke_model_with_response_stream(modelId=model, body=body)["body"]]
print("".join(part.get("delta", {}).get("text", "") for part in parts))
print(client.count_tokens(modelId=model, input={"converse": {"messages": hello}})["inputTokens"])
# Asked for the key, it tells it.
print(client.converse(modelId=model, messages=ask)["output"]["message"]["content"][0]["text"])
for name, call in (("cut", lambda: print(streamed(client.converse_stream(modelId=model, messages=ask)))),
                   ("refused", lambda: client.converse(modelId="meta.llama", messages=hello))):
    try: call()
    except Exception as error: print(name, type(error).__name__, getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode"))
"#;

#[test]
fn boto3_converses_by_a_key_that_never_comes_in() {
    let world = World::new(As::User, &[HOST], Router::new().any("/", bedrock::answer_request));
    let _ = world.chiton.run_with(&["secret", "set", "aws", "--host", HOST], KEY).expect_success();
    world.chiton.write_workspace("task.py", BOTO);
    let policy = world.chiton.policy(&format!(
        "static:\n  filesystem: {{allowed_paths: [/workspace, /tmp]}}\n\
         \x20 process: {{env: {{AWS_DEFAULT_REGION: eu-central-1, AWS_EC2_METADATA_DISABLED: 'true'}}}}\n\
         dynamic:\n  llm_routing:\n    provider: bedrock\n    base_url: https://{HOST}\n\
         \x20   inject_backend_credential: local://aws\n    models: ['eu.anthropic.*']\n\
         \x20   model_alias: {{fast: 'eu.anthropic.claude-test-v1:0'}}\n"
    ));
    let (policy, python) = (policy.display().to_string(), packages("python").display().to_string());
    let variable = format!("PYTHONPATH={python}");
    let arguments =
        ["run", "--rm", "-p", &policy, "-r", &python, "-e", &variable, "--", "/usr/bin/python3", "task.py"];
    let outcome = world.chiton.run(&arguments).expect_success();
    let greeting = "Hello from the scripted model.";
    let wanted = format!("{greeting} 7\n{greeting}\n").repeat(4) + &format!("{greeting}\n{greeting}\n11\n");
    assert!(outcome.stdout.starts_with(&wanted), "{outcome:?}");
    assert!(outcome.stdout.contains("I see AWS4-HMAC-SHA256 Credential=[redacted]/"), "{outcome:?}");
    assert!(
        outcome.stdout.contains("\ncut ") && outcome.stdout.ends_with("refused ClientError 403\n"),
        "{outcome:?}"
    );
    for part in KEY.split(':') {
        assert!(!outcome.stdout.contains(part) && !outcome.stderr.contains(part), "{outcome:?}");
    }
    let asked = world.upstream.requests();
    assert_eq!(asked.len(), 13);
    for request in &asked {
        let signed = request.header("authorization").unwrap_or_default();
        assert!(signed.contains("Credential=AKIABACKENDBACKENDBA/"), "{request:?}");
        assert!(signed.contains("/eu-central-1/bedrock/aws4_request"), "{request:?}");
        assert_eq!(request.header("x-amz-security-token"), Some("token-0123456789abcdef"));
        assert!(
            !request.contains("STOLEN") && !request.contains("stolen") && !request.contains("CHITON"),
            "{request:?}"
        );
        assert!(request.target.starts_with("/model/eu.anthropic.claude-test-v1%3A0/"), "{request:?}");
    }
    let events = world.chiton.audit(&[]);
    let used = events.iter().filter(|e| e["llm"]["input_tokens"] == 11 && e["llm"]["output_tokens"] == 7);
    let used: Vec<_> =
        used.inspect(|e| assert_eq!(e["llm"]["model"], "eu.anthropic.claude-test-v1:0")).collect();
    assert_eq!(used.iter().filter(|e| e["llm"]["cached_tokens"] == bedrock::CACHED).count(), 9, "{used:#?}");
    assert_eq!(used.len(), 11, "{used:#?}");
    assert_eq!(world.chiton.audit(&["--reason", "model_not_allowed"]).len(), 1);
}
