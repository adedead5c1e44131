//! What Docker and Podman differ in.

use std::{env, path::PathBuf};

use chiton_driver::DriverName;

/// What a Docker lacks that gives no devices.
const DOCKER_LACKS: &str =
    "it takes Docker 28.3 or later, or 25 or later with `\"features\": {\"cdi\": true}` in its daemon.json";

/// One engine on this machine.
#[derive(Clone, Debug)]
pub struct Engine {
    kind: Kind,
    /// Whether the way out is a container beside the sandbox's.
    pub(crate) sidecar: bool,
    /// Where it is asked, in the order in which they are tried.
    pub(crate) sockets: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Docker,
    Podman,
}

impl Engine {
    /// Docker Engine: at `socket`, or where it listens by default, as root's and as a user's own.
    #[must_use]
    pub fn docker(socket: Option<PathBuf>) -> Self {
        let defaults = [Some(PathBuf::from("/var/run/docker.sock")), of_user("docker.sock")];
        Self { kind: Kind::Docker, sidecar: false, sockets: one_or(socket, defaults) }
    }

    /// Whether the way out is a second container, for an engine whose kernel is not this machine's.
    #[must_use]
    pub fn with_sidecar(self, sidecar: bool) -> Self {
        Self { sidecar, ..self }
    }

    /// Podman: at `socket`, or where it listens by default: for an ordinary user its own, for root the system's.
    #[must_use]
    pub fn podman(socket: Option<PathBuf>) -> Self {
        let root = rustix::process::geteuid().is_root();
        let own = of_user("podman/podman.sock").filter(|_| !root);
        let defaults = [own, root.then(|| PathBuf::from("/run/podman/podman.sock"))];
        Self { kind: Kind::Podman, sidecar: false, sockets: one_or(socket, defaults) }
    }

    /// Which driver it is.
    #[must_use]
    pub fn name(&self) -> DriverName {
        match self.kind {
            Kind::Docker => DriverName::Docker,
            Kind::Podman => DriverName::Podman,
        }
    }

    /// What to do where the engine's kernel is another: the end of a sentence.
    pub(crate) fn way_on(&self) -> &'static str {
        match self.kind {
            Kind::Docker => {
                "; for such an engine there is `[docker] sidecar = true` in config.toml, a weaker arrangement"
            }
            Kind::Podman => "",
        }
    }

    /// How its service is started.
    pub(crate) fn mend(&self) -> &'static str {
        match self.kind {
            Kind::Docker => "sudo systemctl start docker",
            Kind::Podman if rustix::process::geteuid().is_root() => "systemctl enable --now podman.socket",
            Kind::Podman => "systemctl --user enable --now podman.socket",
        }
    }

    /// Which key of `config.toml` names another socket.
    pub(crate) fn setting(&self) -> &'static str {
        match self.kind {
            Kind::Docker => "[docker] socket",
            Kind::Podman => "[podman] socket",
        }
    }

    /// How the profile is given: Docker takes its text, Podman reads a file on its own side.
    pub(crate) fn takes_profile_as_text(&self) -> bool {
        self.kind == Kind::Docker
    }

    /// How a mount is given: Docker takes it field by field, Podman makes one text of it.
    pub(crate) fn takes_mounts_as_fields(&self) -> bool {
        self.kind == Kind::Docker
    }

    /// How a device is asked for: of Docker with the rest, of Podman by its own API.
    pub(crate) fn takes_device_requests(&self) -> bool {
        self.kind == Kind::Docker
    }

    /// Where it reads which devices there are, and whether it does: its version, and the folders that it names.
    ///
    /// # Errors
    /// It is too old, or does not do it: what it lacks.
    pub(crate) fn device_folders(
        &self,
        version: &str,
        named: &[String],
    ) -> Result<Vec<PathBuf>, &'static str> {
        match self.kind {
            // It names no folder where it is older, or does not do it.
            Kind::Docker if named.is_empty() => Err(DOCKER_LACKS),
            Kind::Docker => Ok(named.iter().map(PathBuf::from).collect()),
            Kind::Podman if numbers(version) < [4, 1] => Err("it takes Podman 4.1 or later"),
            Kind::Podman => Ok(["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).into()),
        }
    }

    /// Whether it is the gateway's own user's, without root: of Podman's that is so, of Docker's it cannot be told.
    pub(crate) fn is_rootless(&self) -> bool {
        self.kind == Kind::Podman && !rustix::process::geteuid().is_root()
    }

    /// In which user namespace the container is: one where the ids of the host are themselves.
    pub(crate) fn user_namespace(&self) -> String {
        match self.kind {
            Kind::Podman if self.is_rootless() => "keep-id".to_owned(),
            Kind::Docker | Kind::Podman => "host".to_owned(),
        }
    }

    /// How the masks over `/proc` are left out, which keep a `/proc` of the sandbox's own from being mounted. The
    /// agent sees that one, with our masks, and never the container's.
    pub(crate) fn unmasked(&self) -> Unmasked {
        match self.kind {
            Kind::Docker => Unmasked::EmptyLists,
            Kind::Podman => Unmasked::Option("unmask=ALL"),
        }
    }
}

/// See [`Engine::unmasked`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unmasked {
    /// `MaskedPaths` and `ReadonlyPaths` are empty.
    EmptyLists,
    /// One of `SecurityOpt`.
    Option(&'static str),
}

/// The first two numbers of a version.
fn numbers(version: &str) -> [u32; 2] {
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    [(); 2].map(|()| parts.next().unwrap_or(0))
}

fn of_user(socket: &str) -> Option<PathBuf> {
    env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join(socket))
}

fn one_or(socket: Option<PathBuf>, defaults: [Option<PathBuf>; 2]) -> Vec<PathBuf> {
    match socket {
        Some(socket) => vec![socket],
        None => defaults.into_iter().flatten().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_too_old_for_devices_is_told_by_its_own_words() {
        let (docker, podman) = (Engine::docker(None), Engine::podman(None));
        assert!(docker.device_folders("20.10.24+dfsg1", &[]).unwrap_err().contains("28.3"));
        let folders = ["/etc/cdi".to_owned()];
        assert_eq!(docker.device_folders("28.3.0", &folders).unwrap(), [PathBuf::from("/etc/cdi")]);
        for old in ["3.4.4", "4.0.3", "", "x"] {
            assert!(podman.device_folders(old, &[]).unwrap_err().contains("4.1"), "{old}");
        }
        for new in ["4.1.0", "4.3.1", "5.0.0-rc1", "10.2"] {
            assert_eq!(podman.device_folders(new, &[]).unwrap().len(), 2, "{new}");
        }
    }
}
