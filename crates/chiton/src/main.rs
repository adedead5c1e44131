//! The thin main: joins the roles, and is the only place that names concrete drivers.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use chiton_driver_native::{NativeConfig, NativeDriver};
use chiton_gateway::{MakeDriver, Options};

fn main() -> ExitCode {
    // Before anything else: these two must carry no thread, no handler and nothing of the command line.
    match std::env::args_os().nth(1).as_deref().and_then(|role| role.to_str()) {
        Some("supervisor") => chiton_supervisor::run(),
        Some("proxy") => chiton_proxy::run(),
        _ => chiton_cli::run(serve),
    }
}

/// `chiton gateway serve`.
fn serve(config: Option<PathBuf>) -> ExitCode {
    let native: MakeDriver = Box::new(|paths| {
        // Still this very program after a newer one took its name.
        let executable = PathBuf::from("/proc/self/exe");
        Ok(Arc::new(NativeDriver::new(NativeConfig { runtime: paths.runtime.clone(), executable })))
    });
    chiton_gateway::run(&Options { config }, vec![native])
}
