//! `chiton policy explain`: how one request would be judged, and by what.

use std::{
    fs,
    path::{Path, PathBuf},
};

use chiton_policy::{
    Ambiguous, Binary, CompiledPolicy, ConnectIntent, Denial, Explanation, Intent, Outcome, RequestLineError,
    compile, explain, explain_connection,
};
use clap::Args;

use crate::{
    context::Context,
    error::{CliError, Status},
    output::Output,
    source::Source,
    text::Safe,
};

/// Explain how a request would be judged; exits with 0 when it is allowed, 1 when it is denied, 2 when the
/// policy or the request is not valid.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The policy
    file: PathBuf,
    /// The request: `METHOD scheme://authority/target`, or `CONNECT tcp://host:port`, or `CONNECT tls://host:port` for
    /// what is passed through
    #[arg(long, value_name = "REQUEST")]
    request: String,
    /// The program that asks, or `INTERPRETER SCRIPT`
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

impl ExplainArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        self.judge(context.output).map_err(|error| error.status(Status::Invalid))
    }

    fn judge(self, output: Output) -> Result<Status, CliError> {
        let policy = Source::named(&self.file)?.checked()?;
        let compiled = compile(&policy);
        let connection = ConnectIntent::from_request_line(&self.request);
        let judged = match connection {
            Some(connection) => {
                let binary = self.binary.as_deref().map(|binary| known(binary, &compiled));
                Ok(explain_connection(&compiled, &connection.by(binary)))
            }
            None => self.intent(&compiled).map(|intent| explain(&compiled, &intent)),
        };
        let explanation = match judged {
            Ok(explanation) => explanation,
            Err(RequestLineError::Ambiguous(ambiguous)) => self.refused(ambiguous),
            Err(error @ RequestLineError::NotARequest(_)) => return Err(CliError::new(error.to_string())),
        };
        if output.json {
            output.document(&explanation)?;
        } else {
            output.line(Safe::lines(explanation.to_string().trim_end()).to_string())?;
        }
        Ok(match explanation.decision {
            Outcome::Allow | Outcome::Audit => Status::Code(0),
            Outcome::Deny => Status::Failed,
        })
    }

    fn intent(&self, policy: &CompiledPolicy) -> Result<Intent, RequestLineError> {
        match &self.binary {
            Some(binary) => Intent::from_request_line_of(&self.request, &known(binary, policy)),
            None => Intent::from_request_line(&self.request),
        }
    }

    /// A request that no rule is asked about.
    fn refused(&self, ambiguous: Ambiguous) -> Explanation {
        let denial = Denial::from(ambiguous);
        Explanation {
            decision: Outcome::Deny,
            request: self.request.clone(),
            reason: Some(denial.reason()),
            rule: None,
            detail: denial.detail(),
            suggestion: None,
            credential: None,
            rules: Vec::new(),
            other_hosts: 0,
        }
    }
}

/// An executable as a sandbox of this host would know it: the file that a path leads to, and every name that the
/// policy has for it. One that is not here is known by its path alone.
fn known(binary: &Path, policy: &CompiledPolicy) -> Binary {
    let text = binary.to_string_lossy();
    match text.find(" /").and_then(|at| text.split_at_checked(at)) {
        Some((program, script)) if !binary.exists() => {
            let (program, others) = names(Path::new(program), policy);
            let (script, of_script) = names(Path::new(script.trim_start()), policy);
            Binary::new(&program, others).running(&script, of_script)
        }
        Some(_) | None => {
            let (program, others) = names(binary, policy);
            Binary::new(&program, others)
        }
    }
}

fn names(path: &Path, policy: &CompiledPolicy) -> (String, Vec<String>) {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let leads_here = |path: &&str| {
        let here = match (path.strip_prefix("~/"), &home) {
            (Some(below), Some(home)) => home.join(below),
            (Some(_), None) | (None, _) => PathBuf::from(path),
        };
        fs::canonicalize(here).is_ok_and(|led| led == file)
    };
    let led = policy.binary_paths().into_iter().filter(leads_here).map(str::to_owned);
    let below = home.as_ref().and_then(|home| file.strip_prefix(home).ok());
    let in_home = below.map(|below| format!("~/{}", below.display()));
    (file.to_string_lossy().into_owned(), led.chain(in_home).collect())
}
