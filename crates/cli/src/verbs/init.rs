//! `chiton init`: a commented policy for this folder, and the next command. Nothing is ever overwritten.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    context::{Context, home},
    error::CliError,
    outside,
    source::LOCAL_POLICY,
};

/// Write a commented chiton.yaml for this folder.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The agent that it is for
    #[arg(long, value_enum, value_name = "NAME")]
    agent: Option<Agent>,
    /// The folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Agents whose needs are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Agent {
    ClaudeCode,
    Codex,
    Opencode,
}

impl Agent {
    const fn program(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude",
            Self::Codex => "codex",
            Self::Opencode => "opencode",
        }
    }

    const fn provider(self) -> &'static str {
        match self {
            Self::ClaudeCode => "anthropic",
            Self::Codex | Self::Opencode => "openai",
        }
    }
}

impl InitArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let path = self.folder.join(LOCAL_POLICY);
        write_new(&path, &template(self.agent, &home()?))?;
        let next = match self.agent {
            Some(agent) => {
                vec![
                    format!("chiton secret set {0} --host api.{0}.com", agent.provider()),
                    format!("chiton run -- {}", agent.program()),
                ]
            }
            None => vec!["chiton run -- sh".to_owned()],
        };
        if context.output.json {
            return context.output.document(&json!({ "written": path, "next": next }));
        }
        context.output.line(format!("wrote {}", path.display()))?;
        context.output.line(format!("next: {}", next.join(" && ")))
    }
}

fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let open = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = open.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            CliError::new(format!("`{}` exists and was left as it is", path.display()))
                .hint(format!("chiton policy check {}", path.display()))
        }
        _ => CliError::new(format!("cannot write `{}`: {error}", path.display())),
    })?;
    Ok(file.write_all(text.as_bytes())?)
}

fn template(agent: Option<Agent>, home: &Path) -> String {
    let mut text = String::from(FILES);
    match agent.and_then(|agent| outside::installation(agent.program(), home)) {
        Some(trees) => {
            text.push_str("    # Where the agent's own program is.\n    read_only_paths:\n");
            text.extend(trees.iter().map(|tree| format!("      - {tree}\n")));
        }
        None => text.push_str(READ_ONLY),
    }
    text.push_str(DENIED);
    text.push_str(NETWORK);
    match agent {
        Some(agent) => text.push_str(&LLM.replace("PROVIDER", agent.provider())),
        None => {
            text.extend(LLM.replace("PROVIDER", "anthropic").lines().map(|line| match line.trim_start() {
                trimmed if trimmed.starts_with('#') || trimmed.is_empty() => format!("{line}\n"),
                _ => format!("  # {}\n", line.get(2..).unwrap_or(line)),
            }))
        }
    }
    text
}

const FILES: &str = "\
# What the agent may do in this folder. What is not allowed here is denied.
# Check: chiton policy check   Ask: chiton policy explain chiton.yaml --request 'GET https://host/path'
version: 1

# Fixed when the sandbox is made.
static:
  filesystem:
    # Read and write. /workspace is this folder; /tmp is the sandbox's own.
    allowed_paths:
      - /workspace
      - /tmp
";

// `\x20`: the line's continuation would take the indent away.

const READ_ONLY: &str = "\
\x20   # Read and run only; programs that live in your home enter by a line here.
    # read_only_paths:
    #   - ~/.nvm
";

const DENIED: &str = "\
\x20   # Never seen inside, under whatever name, whether they exist yet or not.
    denied_paths:
      - \"**/.env\"
      - \"**/.env.*\"
  process:
    # On top of the built-in baseline, which is always on.
    blocked_syscalls:
      - ptrace
      - mount
      - reboot

";

const NETWORK: &str = "\
# Can be replaced while it runs: chiton policy apply SANDBOX chiton.yaml
dynamic:
  network:
    # The only requests that leave. `*` is one segment of a path, `**` any number.
    http: []
    # http:
    #   - host: registry.npmjs.org
    #     methods: [GET]
    #     encoded_slash: true          # scoped packages
    #   - host: api.github.com
    #     methods: [GET]
    #     paths: [/repos/OWNER/NAME, /repos/OWNER/NAME/**]
";

const LLM: &str = "\
\x20 # The agent's model calls: its own key is removed, and yours added outside of the sandbox.
  # Store it once: chiton secret set PROVIDER --host api.PROVIDER.com
  llm_routing:
    provider: PROVIDER
    inject_backend_credential: local://PROVIDER
";

#[cfg(test)]
mod tests {
    use chiton_policy::Document;

    use super::*;

    #[test]
    fn every_template_is_a_policy() {
        let agents = Agent::value_variants().iter().copied().map(Some).chain([None]);
        for agent in agents {
            let text = template(agent, Path::new("/home/nobody"));
            assert!(Document::parse(&text).is_ok(), "{text}");
            assert_eq!(text.contains("\n  llm_routing:"), agent.is_some(), "{text}");
        }
    }

    #[test]
    fn comments_stand_where_they_belong() {
        for agent in [Some(Agent::Codex), None] {
            let text = template(agent, Path::new("/home/nobody"));
            let indent = |line: &str| line.len() - line.trim_start().len();
            let mut lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
            lines.reverse();
            let mut below = None;
            for line in lines {
                if line.trim_start().starts_with('#') {
                    // Of what follows, or an example below what stands above.
                    assert!(below.is_none_or(|below| indent(line) >= below), "{line:?} in\n{text}");
                } else {
                    below = Some(indent(line));
                }
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOCAL_POLICY);
        write_new(&path, "mine").unwrap();
        assert!(write_new(&path, "yours").unwrap_err().render().contains("was left as it is"));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
    }
}
