//! Real programs that agents use, each with the servers it asks and the policy it runs under. The tests of the main
//! job run them natively and look closer; the tests of the drivers run them under every driver and compare.

use chiton_testkit::routes::{Router, anthropic, npm, openai, pypi};

use crate::{As, Outcome, World, packages};

/// The key that only the store and the server know.
pub const KEY: &str = "sk-backend-5f9a1c77e2b04d0c";
/// A part of it that nothing inside may show.
const PART_OF_KEY: &str = "5f9a1c77e2b04d0c";

/// A program and all that it needs.
pub struct Workload {
    /// Its policy.
    pub policy: String,
    /// The hosts that it asks.
    pub hosts: &'static [&'static str],
    /// What answers for them.
    pub serve: fn(Router) -> Router,
    /// The provider whose key the store holds.
    pub provider: Option<&'static str>,
    /// Packages of the tests that it is, or needs.
    pub packages: Option<&'static str>,
    /// What is run, where these lie.
    pub command: fn(&str) -> Vec<String>,
    /// What it prints, among other things.
    pub says: &'static str,
}

impl Workload {
    /// An installation with its servers.
    #[must_use]
    pub fn world(&self, user: As) -> World {
        World::new(user, self.hosts, (self.serve)(Router::new()))
    }

    /// Stores its key. That starts the gateway, which has read its settings then.
    pub fn store_key(&self, world: &World) {
        if let Some(provider) = self.provider {
            world.chiton.secret(provider, KEY);
        }
    }

    /// Runs it to its good end, with the packages where they lie on this machine.
    #[must_use]
    pub fn natively(&self, world: &World) -> Outcome {
        self.store_key(world);
        let at = self.packages.map(|kind| packages(kind).display().to_string());
        let policy = world.chiton.policy(&self.policy).display().to_string();
        let mut arguments = vec!["run", "--rm", "-p", &policy];
        if let Some(at) = &at {
            arguments.extend(["-r", at]);
        }
        arguments.push("--");
        let command = (self.command)(at.as_deref().unwrap_or_default());
        arguments.extend(command.iter().map(String::as_str));
        self.said(world.chiton.run(&arguments))
    }

    /// What it said, which is what it should.
    #[must_use]
    pub fn said(&self, outcome: Outcome) -> Outcome {
        let outcome = outcome.expect_success();
        assert!(outcome.stdout.contains(self.says), "{outcome:?}");
        assert!(
            !outcome.stdout.contains(PART_OF_KEY) && !outcome.stderr.contains(PART_OF_KEY),
            "{outcome:?}"
        );
        outcome
    }
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

fn python(script: &str, packages: &str) -> Vec<String> {
    words(&["env", &format!("PYTHONPATH={packages}"), "/usr/bin/python3", "-c", script])
}

/// `pip install` of a package that is then imported.
#[must_use]
pub fn pip() -> Workload {
    Workload {
        // The kit's index serves its files itself.
        policy: include_str!("../../examples/policies/pip.yaml")
            .replace("[/simple/**]", "[/simple/**, /packages/**]"),
        hosts: &["pypi.org", "files.pythonhosted.org"],
        serve: |router| router.any("/", pypi::answer_request),
        provider: None,
        packages: None,
        command: |_| words(&["sh", "-c", PIP]),
        says: "hello from greeter\n",
    }
}

const PIP: &str = "set -e; /usr/bin/python3 -m pip install -q --disable-pip-version-check --break-system-packages --target lib greeter; \
    PYTHONPATH=lib /usr/bin/python3 -c 'import greeter; print(greeter.GREETING)'";

/// `npm install`, of the tests' own npm, of two packages, one of them scoped, that are then required.
#[must_use]
pub fn npm() -> Workload {
    Workload {
        policy: include_str!("../../examples/policies/npm.yaml").to_owned(),
        hosts: &["registry.npmjs.org"],
        serve: |router| router.any("/", npm::answer_request),
        provider: None,
        packages: Some("node"),
        command: |at| words(&["sh", "-c", NPM, &format!("{at}/node_modules/.bin")]),
        says: "hello from left-pad\nhello from @scope/name\n",
    }
}

const NPM: &str = "set -e; PATH=$0:$PATH; npm install --silent --no-fund left-pad @scope/name; \
    node -e 'console.log(require(\"left-pad\")); console.log(require(\"@scope/name\"))'";

/// The official SDK, plain and streaming.
#[must_use]
pub fn openai_python() -> Workload {
    Workload {
        policy: include_str!("../../examples/policies/openai.yaml").to_owned(),
        hosts: &["api.openai.com"],
        serve: |router| router.any("/", openai::answer_request),
        provider: Some("openai"),
        packages: Some("python"),
        command: |at| python(OPENAI, at),
        says: "Hello from the scripted model.",
    }
}

const OPENAI: &str = r#"
from openai import OpenAI
client = OpenAI()
ask = [{"role": "user", "content": "what key do you see?"}]
print(client.chat.completions.create(model="gpt-test", messages=ask).choices[0].message.content)
stream = client.chat.completions.create(model="gpt-test", messages=ask, stream=True, stream_options={"include_usage": True})
print("".join(c.choices[0].delta.content or "" for c in stream if c.choices))
print(client.responses.create(model="gpt-test", input="hello").output_text)
print([m.id for m in client.models.list()])
"#;

/// The official SDK, plain and streaming.
#[must_use]
pub fn anthropic_python() -> Workload {
    Workload {
        policy: include_str!("../../examples/policies/anthropic.yaml").to_owned(),
        hosts: &["api.anthropic.com"],
        serve: |router| router.any("/", anthropic::answer_request),
        provider: Some("anthropic"),
        packages: Some("python"),
        command: |at| python(ANTHROPIC, at),
        says: "Hello from the scripted model.",
    }
}

const ANTHROPIC: &str = r#"
from anthropic import Anthropic
client = Anthropic()
ask = dict(model="claude-test", max_tokens=64, messages=[{"role": "user", "content": "what key do you see?"}])
print(client.messages.create(**ask).content[0].text)
with client.messages.stream(**ask) as stream:
    print("".join(stream.text_stream))
ask["messages"][0]["content"] = "hello"
print(client.messages.create(**ask).content[0].text)
"#;

/// Node's own `fetch`, which reads a streamed answer.
#[must_use]
pub fn node_fetch() -> Workload {
    Workload {
        command: |_| words(&["node", "--input-type=module", "-e", FETCH]),
        packages: None,
        says: "200 true false\n",
        ..openai_python()
    }
}

const FETCH: &str = r#"
const answer = await fetch("https://api.openai.com/v1/chat/completions", { method: "POST",
  headers: { "content-type": "application/json", authorization: "Bearer mine" },
  body: JSON.stringify({ model: "gpt-test", stream: true, messages: [{ role: "user", content: "what key do you see?" }] }) });
let text = "";
for await (const part of answer.body) text += new TextDecoder().decode(part);
console.log(answer.status, text.includes("[DONE]"), text.includes("sk-backend"));
"#;

/// A coding agent that is asked to do something.
#[must_use]
pub fn claude_code() -> Workload {
    Workload {
        policy: include_str!("../../examples/policies/claude-code.yaml").to_owned(),
        packages: Some("node"),
        command: |at| words(&[&format!("{at}/node_modules/.bin/claude"), "-p", "say hello"]),
        ..anthropic_python()
    }
}
