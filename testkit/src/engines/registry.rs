//! A registry of images that asks for a password: Debian's `docker-registry`, where an engine runs.

use std::{
    process::{Child, Stdio},
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};

use super::{Engine, PATIENCE};

/// Where it listens, in the engine's own network. Engines take one there without TLS.
pub const ADDRESS: &str = "127.0.0.1:5000";
/// Who may use it.
pub const USER: &str = "joe";
/// With which password.
pub const PASSWORD: &str = "registry-password";
/// The same, as the server keeps it.
const HASHED: &str = "$2b$05$abcdefghijklmnopqrstuux7DVfxfgfXTmp/9Tsk6HzX2QQGjxePG";

/// A running registry. It ends with its engine.
#[derive(Debug)]
pub struct Registry<'a> {
    engine: &'a Engine,
    server: Child,
}

impl<'a> Registry<'a> {
    /// Starts one beside an engine, without images.
    ///
    /// # Panics
    /// When it is not installed, or does not come up.
    #[must_use]
    pub fn start(engine: &'a Engine) -> Self {
        let place = &engine.place;
        let images = place.folder("service/registry", None);
        let users = place.write("service/users", &format!("{USER}:{HASHED}\n"));
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {:?}}}}}\n\
             http: {{addr: \"{ADDRESS}\"}}\nauth: {{htpasswd: {{realm: test, path: {users:?}}}}}\n",
            images
        );
        let settings = place.write("service/registry.yml", &text);
        let mut up = place.inside();
        assert!(up.args(["ip", "link", "set", "lo", "up"]).status().expect("nsenter").success());
        let mut command = place.inside();
        command.args(["/usr/bin/docker-registry", "serve"]).arg(settings).env_clear();
        let server = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter");
        let registry = Self { engine, server };
        let deadline = Instant::now() + PATIENCE;
        while !registry.answers() {
            assert!(Instant::now() < deadline, "component missing: docker-registry");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        registry
    }

    fn answers(&self) -> bool {
        let mut curl = self.engine.place.inside();
        curl.args(["curl", "-s", "-o", "/dev/null"]).arg(format!("http://{ADDRESS}/v2/"));
        curl.status().expect("nsenter").success()
    }

    /// Moves an image from the engine to the registry, and says what it is called there.
    ///
    /// # Panics
    /// When either refuses.
    #[must_use]
    pub fn take(&self, image: &str, name: &str) -> String {
        let there = format!("{ADDRESS}/{name}");
        let login = serde_json::json!({ "username": USER, "password": PASSWORD, "serveraddress": ADDRESS });
        let login = format!("X-Registry-Auth: {}", URL_SAFE.encode(login.to_string()));
        self.engine.ask(&format!("images/{image}/tag?repo={there}&tag=latest"), &["-X", "POST"]);
        let push = format!("images/{there}/push?tag=latest&tlsVerify=false");
        let pushed = self.engine.ask(&push, &["-X", "POST", "-H", &login]);
        assert!(!pushed.contains("\"error\""), "{pushed}");
        for name in [format!("{there}:latest"), format!("{image}:latest")] {
            self.engine.ask(&format!("images/{name}?force=true"), &["-X", "DELETE"]);
        }
        there
    }
}

impl Drop for Registry<'_> {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
