//! The thin main: joins the roles, and is the only place that names concrete drivers.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use chiton_driver_container::Engine;
use chiton_driver_host::Proxies;
use chiton_gateway::{MakeDrivers, Options};

fn main() -> ExitCode {
    // Before anything else: these must carry no thread, no handler and nothing of the command line.
    match std::env::args_os().nth(1).as_deref().and_then(|role| role.to_str()) {
        Some("supervisor") => chiton_supervisor::run(),
        Some("proxy") => chiton_proxy::run(),
        Some("sidecar") => chiton_driver_container::run_sidecar(),
        _ => chiton_cli::run(serve),
    }
}

/// `chiton gateway serve`.
fn serve(config: Option<PathBuf>) -> ExitCode {
    let make: MakeDrivers = Box::new(|paths, sockets| {
        // Still this very program after a newer one took its name.
        let executable = Path::new("/proc/self/exe");
        let (runtime, records) = (&paths.runtime, &paths.records());
        let proxies = Proxies::ahead(executable, runtime);
        let container = |engine| {
            Arc::new(chiton_driver_container::driver(engine, runtime, records, Arc::clone(&proxies)))
        };
        vec![
            Arc::new(chiton_driver_native::driver(runtime, records, executable, Arc::clone(&proxies))),
            container(Engine::docker(sockets.docker).with_sidecar(sockets.docker_sidecar)),
            container(Engine::podman(sockets.podman)),
        ]
    });
    chiton_gateway::run(&Options { config }, make)
}
