//! What the agent tries, and what should come of it.

use chiton_audit::{Decision, Event, Layer};

use super::{seen, stage::Stage};
use crate::error::CliError;

/// The reference policy, its key in the local store.
pub(crate) const POLICY: &str = "\
static:
  filesystem:
    allowed_paths:
      - /workspace
      - /tmp
    denied_paths:
      - /workspace/.env
  process:
    blocked_syscalls:
      - ptrace
      - mount
      - reboot

dynamic:
  network:
    http:
      - host: api.github.com
        methods: [GET, POST]
        paths:
          - /repos/*
          - /users/*
      - host: registry.npmjs.org
        methods: [GET]
  llm_routing:
    provider: openai
    strip_caller_credentials: true
    inject_backend_credential: local://openai
";

/// The same with a narrower network.
pub(crate) const TIGHTER: &str = "\
dynamic:
  network:
    http:
      - host: registry.npmjs.org
        methods: [GET]
";

/// What should come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It works.
    Allowed,
    /// It does not.
    Refused,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Allowed or refused.
    pub(crate) outcome: Expected,
    aside: String,
}

impl Seen {
    pub(crate) fn new(outcome: Expected, aside: String) -> Self {
        Self { outcome, aside }
    }

    /// In parentheses, where there is something to add.
    pub(crate) fn aside(&self) -> String {
        if self.aside.is_empty() { String::new() } else { format!(" ({})", self.aside) }
    }
}

/// One thing that the agent tries.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// In words.
    pub(crate) what: &'static str,
    /// Which layer answers.
    pub(crate) layer: Layer,
    /// What should come of it.
    pub(crate) expected: Expected,
    /// Whether the audit log has an event of it.
    pub(crate) audited: bool,
    /// Whether the event is written by another process, and may come a little later.
    pub(crate) late: bool,
    /// Said before.
    pub(crate) before: Option<&'static str>,
    /// Does it.
    pub(crate) act: fn(&mut Stage) -> Result<Seen, CliError>,
}

impl Attempt {
    /// Whether an event is of this attempt.
    pub(crate) fn matches(&self, event: &Event) -> bool {
        let decision = match self.expected {
            Expected::Allowed => Decision::Allow,
            Expected::Refused => Decision::Deny,
        };
        self.audited && event.layer == self.layer && event.decision == Some(decision)
    }
}

const fn attempt(
    what: &'static str,
    layer: Layer,
    expected: Expected,
    act: fn(&mut Stage) -> Result<Seen, CliError>,
) -> Attempt {
    Attempt { what, layer, expected, audited: true, late: false, before: None, act }
}

/// One that no mechanism reports: it works as on any machine, or there is nothing to find.
const fn silent(
    what: &'static str,
    layer: Layer,
    expected: Expected,
    act: fn(&mut Stage) -> Result<Seen, CliError>,
) -> Attempt {
    Attempt { audited: false, ..attempt(what, layer, expected, act) }
}

/// The tour.
pub(crate) const TOUR: &[Attempt] = &[
    silent("write /workspace/notes.txt", Layer::Filesystem, Expected::Allowed, write_notes),
    attempt("read /workspace/.env", Layer::Filesystem, Expected::Refused, |stage| {
        let read = stage.inside(&["cat", "/workspace/.env"])?;
        Ok(seen(read.status != 0 && !read.stdout.contains("DATABASE_PASSWORD"), ""))
    }),
    silent("read ~/.ssh", Layer::Filesystem, Expected::Refused, |stage| {
        let folder = stage.home().join(".ssh").display().to_string();
        let listed = stage.inside(&["sh", "-c", "ls \"$1\" ~/.ssh", "sh", &folder])?;
        Ok(seen(listed.status != 0 && listed.stdout.is_empty(), "there is none inside"))
    }),
    attempt("mount a filesystem", Layer::Process, Expected::Refused, |stage| {
        let mounted = stage.agent(&["mount"])?;
        Ok(seen(mounted.status != 0, mounted.stdout.trim()))
    }),
    attempt("GET https://api.github.com/users/octocat", Layer::Network, Expected::Allowed, |stage| {
        http(stage, "GET", "https://api.github.com/users/octocat")
    }),
    attempt("DELETE https://api.github.com/repos/octocat", Layer::Network, Expected::Refused, |stage| {
        http(stage, "DELETE", "https://api.github.com/repos/octocat")
    }),
    attempt("GET https://api.github.com/gists/secret", Layer::Network, Expected::Refused, |stage| {
        http(stage, "GET", "https://api.github.com/gists/secret")
    }),
    attempt("POST to https://paste.example.net/", Layer::Network, Expected::Refused, |stage| {
        http(stage, "POST", "https://paste.example.net/")
    }),
    attempt("TCP to 203.0.113.7 port 4444", Layer::Network, Expected::Refused, |stage| {
        let talked = stage.agent(&["tcp", "203.0.113.7:4444"])?;
        Ok(seen(talked.status != 0, talked.stdout.trim()))
    }),
    Attempt {
        late: true,
        ..attempt("UDP to 203.0.113.7 port 5353", Layer::Network, Expected::Refused, |stage| {
            let talked = stage.agent(&["udp", "203.0.113.7:5353"])?;
            Ok(seen(talked.status != 0, talked.stdout.trim()))
        })
    },
    attempt("ask the model, without having a key", Layer::Llm, Expected::Allowed, ask_model),
    silent(
        "find the model's key in any process or variable",
        Layer::Credential,
        Expected::Refused,
        |stage| {
            let dumped = stage.inside(&[
                "sh",
                "-c",
                "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null",
            ])?;
            Ok(seen(!stage.holds_key(&dumped.stdout), "a placeholder is all there is"))
        },
    ),
    Attempt {
        before: Some("\n  The policy is tightened while the agent runs (chiton policy apply):\n"),
        ..attempt(
            "GET https://api.github.com/users/octocat, again",
            Layer::Network,
            Expected::Refused,
            |stage| {
                stage.apply(TIGHTER)?;
                http(stage, "GET", "https://api.github.com/users/octocat")
            },
        )
    },
];

fn write_notes(stage: &mut Stage) -> Result<Seen, CliError> {
    let wrote = stage.inside(&["sh", "-c", "echo done > /workspace/notes.txt"])?;
    let on_host = std::fs::read_to_string(stage.workspace().join("notes.txt")).unwrap_or_default();
    Ok(seen(wrote.status != 0 || on_host != "done\n", ""))
}

fn http(stage: &mut Stage, method: &str, url: &str) -> Result<Seen, CliError> {
    let before = stage.upstream().requests();
    let answered = stage.agent(&["http", method, url])?;
    let reached = stage.upstream().requests() > before;
    let line = answered.stdout.lines().next().unwrap_or_default().to_owned();
    // Refused means untouched: a refusal after the server saw the request is none.
    let refused = answered.status != 0 && !reached;
    Ok(seen(refused, line))
}

fn ask_model(stage: &mut Stage) -> Result<Seen, CliError> {
    let answered =
        stage.agent(&["http", "POST", "https://api.openai.com/v1/chat/completions", MODEL_REQUEST])?;
    let key_arrived = stage.upstream().model_saw(stage.key());
    let agents_own = stage.upstream().model_saw(super::agent::OWN_KEY);
    let came_back = stage.holds_key(&answered.stdout);
    let good = answered.status == 0 && key_arrived && !agents_own && !came_back;
    let aside = match (key_arrived, agents_own, came_back) {
        (true, false, false) => "the server got your key and repeated it; the agent did not see it",
        (false, ..) => "the key did not arrive",
        (_, true, _) => "the agent's own key arrived",
        (_, _, true) => "the key came back",
    };
    Ok(seen(!good, aside))
}

const MODEL_REQUEST: &str =
    r#"{"model":"gpt-5","messages":[{"role":"user","content":"repeat the key that you were called with"}]}"#;
