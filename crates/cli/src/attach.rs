//! From an upgraded connection to an exit status: the session, and what is said after it.

use std::time::{Duration, Instant};

use chiton_api::{
    control::Exit,
    http::{AuditQuery, Denials, Sandbox, Session, SignalRequest, WaitReply},
};
use jiff::Timestamp;
use rustix::process::Signal;

use crate::{
    client::{Client, Upgraded, encode, escape, sandbox_target},
    error::{CliError, Status},
    output::note,
    session::{Aside, Ended, Wishes, carry},
    terminal, words,
};

/// Between the end of a connection and the gateway's word that the sandbox has ended.
const SETTLING: Duration = Duration::from_secs(5);
const PERIOD: Duration = Duration::from_millis(20);
/// What the gateway says of a program whose end is not known.
const FAULT: u8 = 125;

/// How an attached program is connected: a terminal where there is one at both ends, and no input where there is none:
/// a program whose caller has `/dev/null` has its own.
pub(crate) fn wished(attach: bool) -> Session {
    let terminal = if attach && terminal::interactive() { terminal::size() } else { None };
    Session { attach, terminal, stdin: attach && !terminal::input_is_null() }
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Attended {
    /// The program's exit status.
    pub(crate) status: Status,
    /// What was refused, where the session told.
    pub(crate) refused: Option<Denials>,
}

impl From<Status> for Attended {
    fn from(status: Status) -> Self {
        Self { status, refused: None }
    }
}

/// How a signal reaches a sandbox's own program when the session is full of its input: the gateway is asked.
pub(crate) fn by_the_gateway(client: &Client, upgraded: &Upgraded, name: &str) -> Aside {
    let (client, name) = (client.beside(), upgraded.sandbox.as_deref().unwrap_or(name).to_owned());
    Box::new(move |signal| {
        let asked = sandbox_target(&name, "/signal").and_then(|target| {
            let body = encode(&SignalRequest { signal: signal.into() })?;
            client.command("POST", &target, Some(body))
        });
        if let Err(error) = asked {
            note(error.render().trim_end());
        }
    })
}

/// One that cannot be sent to a further program otherwise: this command ends by it, as without a session.
pub(crate) fn by_our_own_end() -> Aside {
    Box::new(|signal| {
        if [Signal::USR1, Signal::USR2].map(Signal::as_raw).contains(&i32::from(signal)) {
            return;
        }
        terminal::restore();
        note("chiton: the program takes no input, so it was not told of the signal; its session ends");
        std::process::exit(i32::from(signal).saturating_add(128));
    })
}

/// Carries the session to the end of its program.
pub(crate) fn attend(
    upgraded: Upgraded,
    session: &Session,
    name: &str,
    aside: Aside,
) -> Result<Attended, CliError> {
    let wishes = Wishes { terminal: session.terminal.is_some(), stdin: session.stdin };
    let name = upgraded.sandbox.as_deref().unwrap_or(name).to_owned();
    match carry(upgraded.stream, upgraded.early, wishes, aside)? {
        Ended::Exit(Exit { code, .. }, refused) => Ok(Attended { status: Status::Code(code), refused }),
        Ended::Detached => {
            note(format!("chiton: left {name}, which runs on: chiton attach {name}"));
            Ok(Status::Code(0).into())
        }
        Ended::Lost => {
            Err(CliError::new(format!("the connection to `{name}` was lost before its program ended"))
                .hint(format!("chiton attach {name}"))
                .status(Status::Chiton))
        }
    }
}

/// The same for a sandbox's own program: where its supervisor went with it, how it ended is asked of the gateway.
pub(crate) fn attend_main(
    client: &Client,
    upgraded: Upgraded,
    session: &Session,
    name: &str,
) -> Result<Attended, CliError> {
    let aside = by_the_gateway(client, &upgraded, name);
    let attended = attend(upgraded, session, name, aside);
    let lost = attended.as_ref().is_err_and(|error| error.exit() == Status::Chiton);
    let ended = if lost { ended(client, name) } else { None };
    ended.map_or(attended, |status| Ok(status.into()))
}

/// Its program's own status, once it has ended; none where it goes on, or ended by a fault.
fn ended(client: &Client, name: &str) -> Option<Status> {
    let began = Instant::now();
    let target = sandbox_target(name, "").ok()?;
    while client.get::<Sandbox>(&target).is_ok_and(|sandbox| sandbox.state.is_live()) {
        if began.elapsed() > SETTLING {
            return None;
        }
        std::thread::sleep(PERIOD);
    }
    let reply: WaitReply = client.get(&sandbox_target(name, "/wait").ok()?).ok()?;
    (reply.exit_code != FAULT).then_some(Status::Code(reply.exit_code))
}

/// After refusals, one line: how many, and how to see them. Where the session did not tell of them they are asked for, by
/// the sandbox's identity, where that is known: so they are told without a look at the records.
pub(crate) fn tell_refusals(
    client: &Client,
    told: Option<Denials>,
    (name, identity): (&str, Option<&str>),
    since: Timestamp,
) {
    let refusals = told.or_else(|| refusals(client, (name, identity.unwrap_or(name)), since));
    let Some(denials) = refusals.filter(|denials| denials.count > 0) else { return };
    let layers: Vec<_> = denials.layers.iter().map(|(layer, count)| format!("{layer} {count}")).collect();
    let layers = if layers.is_empty() { String::new() } else { format!(" ({})", layers.join(", ")) };
    let verb = if denials.count == 1 { "was" } else { "were" };
    note(format!(
        "chiton: {} {verb} refused{layers}: chiton audit query --sandbox {name} --decision deny",
        words::plural(denials.count, "attempt"),
    ));
}

/// Where a limit ended the program, one line: which. After the end, also of a sandbox that is removed by now.
pub(crate) fn tell_limit(client: &Client, name: &str, status: Status) {
    if status == Status::Code(0) {
        return;
    }
    let asked = sandbox_target(name, "/wait").and_then(|target| client.get::<WaitReply>(&target));
    if let Some(reason) = asked.ok().and_then(|reply| reply.reason) {
        note(format!("chiton: {}", reason.0));
    }
}

/// From the sandbox, or from the audit log where it is already removed.
fn refusals(client: &Client, (name, identity): (&str, &str), since: Timestamp) -> Option<Denials> {
    let asked = sandbox_target(identity, "/denials").and_then(|target| client.get::<Denials>(&target));
    if let Ok(denials) = asked {
        return Some(denials);
    }
    let query = AuditQuery {
        sandbox: Some(name.to_owned()),
        decision: Some("deny".to_owned()),
        since: Some(since),
        ..AuditQuery::default()
    };
    let body = client.stream(&audit_target(&query)).ok()?.bytes().ok()?;
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Some(Denials { count: lines.count() as u64, ..Denials::default() })
}

/// The target of a query of the audit log.
pub(crate) fn audit_target(query: &AuditQuery) -> String {
    let mut target = "/v1/audit".to_owned();
    let mut glue = '?';
    let limit = query.limit.map(|limit| limit.to_string());
    let since = query.since.map(|since| since.to_string());
    let follow = query.follow.then(|| "true".to_owned());
    let fields = [
        ("sandbox", &query.sandbox),
        ("layer", &query.layer),
        ("decision", &query.decision),
        ("reason", &query.reason),
        ("since", &since),
        ("limit", &limit),
        ("follow", &follow),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            target.push_str(&format!("{glue}{name}={}", escape(value)));
            glue = '&';
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_escaped() {
        let query =
            AuditQuery { sandbox: Some("a&b".into()), limit: Some(3), follow: true, ..AuditQuery::default() };
        assert_eq!(audit_target(&query), "/v1/audit?sandbox=a%26b&limit=3&follow=true");
    }
}
