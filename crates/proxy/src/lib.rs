//! The data plane of one sandbox: ends TLS, judges, injects, forwards, streams.
//!
//! In: connections and DNS questions that the sandbox's packet filter turned to us, and revisions of the policy on
//! the control link. Out: requests that a permit allows, answers, and an event for every decision before its effect.
//! What always holds: without a configured revision nothing is accepted; nothing is dialled, injected or relayed
//! without a permit; when anything of ours fails, nothing goes out.

mod accept;
mod agent;
mod capture;
mod control;
mod denials;
mod dns;
mod dropped;
mod events;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod given;
mod headers;
mod hello;
mod http1;
mod http2;
mod inject;
mod internal;
mod judge;
mod limits;
mod listeners;
mod lockdown;
mod memory;
mod message;
mod owners;
mod proxied;
mod rates;
mod refuse;
mod revision;
mod running;
mod service;
mod spend;
mod state;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
mod upstream;
mod websocket;
mod workers;

use std::{
    io,
    os::unix::net::{UnixListener, UnixStream},
    process::ExitCode,
};

use chiton_api::descriptors;
use chiton_tls::SystemRoots;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    control::{Control, System},
    upstream::resolve::SystemNames,
};

/// Why the process ends before it serves.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// The control socket or the gateway's is not there.
    #[error("the proxy is started by the gateway, with two sockets as descriptors 3 and 4: {0}")]
    Control(#[source] io::Error),
    /// It could not lock itself down.
    #[error(transparent)]
    Lockdown(#[from] lockdown::LockdownError),
    /// The event loop failed.
    #[error("the proxy's event loop failed: {0}")]
    Loop(#[source] io::Error),
}

/// The hidden subcommand `chiton proxy`: the data plane of one sandbox, until `Shutdown`.
#[must_use]
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write as _;
            // Whoever started us by hand should read why; the gateway gives us nothing to write to.
            let _ = writeln!(io::stderr(), "chiton proxy: {error}");
            ExitCode::from(125)
        }
    }
}

fn serve() -> Result<(), StartError> {
    let inherited =
        |number| chiton_sys::spawn::inherited(number).map_err(|error| StartError::Control(error.into()));
    let control = UnixListener::from(inherited(descriptors::PROXY_CONTROL)?);
    control.set_nonblocking(true).map_err(StartError::Control)?;
    let gateway = UnixStream::from(inherited(descriptors::PROXY_GATEWAY)?);
    gateway.set_nonblocking(true).map_err(StartError::Control)?;
    // The last files that it opens.
    let system = System { roots: SystemRoots::open(), names: SystemNames::read() };
    // Where the C library is static, randomness for ids comes from a device that has to be open by then.
    let _ = chiton_audit::EventId::next();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Loop)?;
    // In a static binary the generator of ids takes its seed from a file, and keeps that open.
    let _ = chiton_audit::EventId::next();
    lockdown::lock_down()?;
    let served = runtime.block_on(async {
        // An event file at its limit is an error to answer, not an end.
        let _full = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
        let mut ended = signal(SignalKind::terminate())?;
        let listener = tokio::net::UnixListener::from_std(control)?;
        let gateway = tokio::net::UnixStream::from_std(gateway)?;
        let control = Control::new(system);
        let served = tokio::select! {
            served = control.clone().serve(listener, gateway) => served,
            _ = ended.recv() => Ok(()),
        };
        control.write_last_events().await;
        served
    });
    // What still runs is dropped with the process: no response is completed by an end of ours.
    runtime.shutdown_background();
    served.map_err(StartError::Loop)
}
