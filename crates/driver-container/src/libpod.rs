//! Podman's own API, for the one thing that its answer to Docker's does not take: devices by the Container Device
//! Interface. The order is the same one; nothing of it may get lost on the way.

use std::{path::Path, time::Duration};

use bollard::models::ContainerCreateBody;
use bytes::Bytes;
use chiton_driver::{DriverError, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;

/// The oldest version of it that knows such devices (they came with Podman 4.1).
const CREATE: &str = "/v4.0.0/libpod/containers/create";

/// As with every other request.
const PATIENCE: Duration = Duration::from_secs(crate::client::PATIENCE);

/// What it answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    #[serde(rename = "Id")]
    id: String,
    message: String,
}

/// Makes a container, and says what the engine calls it.
pub(crate) async fn create(
    socket: &Path,
    name: &str,
    order: ContainerCreateBody,
    devices: &[String],
) -> Result<String> {
    let failed = |why: String| DriverError::Unsupported(format!("podman cannot make the container: {why}"));
    let mut spec = spec(order)?;
    spec.insert("name".to_owned(), json!(name));
    let devices: Vec<_> = devices.iter().map(|device| json!({ "path": device })).collect();
    spec.insert("devices".to_owned(), json!(devices));
    let body = Value::Object(spec).to_string();
    let (status, text) = post(socket, CREATE, body).await.map_err(|error| failed(error.to_string()))?;
    let answer: Answer = serde_json::from_slice(&text).unwrap_or_default();
    match status {
        StatusCode::CREATED if !answer.id.is_empty() => Ok(answer.id),
        _ => Err(failed(answer.message.split_whitespace().collect::<Vec<_>>().join(" "))),
    }
}

/// One request over a connection of its own.
async fn post(
    socket: &Path,
    path: &str,
    body: String,
) -> std::result::Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, "podman")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let asked = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
    };
    // The connection ends with its one sender.
    let both = tokio::time::timeout(PATIENCE, async { tokio::join!(asked, connection) }).await;
    let (answer, _) = both.map_err(|_| "no answer")?;
    Ok(answer?)
}

/// The order in Podman's own words. What has none is an error, never left out.
fn spec(order: ContainerCreateBody) -> Result<Map<String, Value>> {
    let mut order = Fields::of(&order)?;
    let mut host = Fields::in_value(order.take("HostConfig"));
    let mut spec = Map::new();
    for (theirs, ours) in [
        ("Image", "image"),
        ("User", "user"),
        ("Entrypoint", "entrypoint"),
        ("Cmd", "command"),
        ("WorkingDir", "work_dir"),
        ("Labels", "labels"),
        ("Healthcheck", "healthconfig"),
    ] {
        spec.insert(ours.to_owned(), order.take(theirs));
    }
    for (theirs, ours) in
        [("CapDrop", "cap_drop"), ("Privileged", "privileged"), ("AutoRemove", "remove"), ("Init", "init")]
    {
        spec.insert(ours.to_owned(), host.take(theirs));
    }
    spec.insert("env".to_owned(), variables(&order.take("Env"))?);
    for (theirs, ours) in [("NetworkMode", "netns"), ("UsernsMode", "userns"), ("IpcMode", "ipcns")] {
        spec.insert(ours.to_owned(), json!({ "nsmode": host.take(theirs) }));
    }
    let mut log = Fields::in_value(host.take("LogConfig"));
    spec.insert("log_configuration".to_owned(), json!({ "driver": log.take("Type") }));
    log.all_taken()?;
    let mounts = host.take("Mounts");
    let mounts: Result<Vec<_>> = mounts.as_array().into_iter().flatten().map(mount).collect();
    spec.insert("mounts".to_owned(), json!(mounts?));
    spec.insert("resource_limits".to_owned(), resources(&mut host));
    security(&mut spec, &host.take("SecurityOpt"))?;
    // Said by `netns`.
    order.take("NetworkDisabled");
    // As its answer to Docker's API has it.
    spec.insert("oom_score_adj".to_owned(), json!(0));
    order.all_taken()?;
    host.all_taken()?;
    Ok(spec)
}

/// `NAME=VALUE` each, as a table.
fn variables(list: &Value) -> Result<Value> {
    let pair = |text: &Value| {
        let (name, value) = text.as_str().and_then(|text| text.split_once('='))?;
        Some((name.to_owned(), json!(value)))
    };
    let pairs: Option<Map<_, _>> = list.as_array().into_iter().flatten().map(pair).collect();
    pairs.map(Value::Object).ok_or_else(|| lost("Env"))
}

fn mount(mount: &Value) -> Result<Value> {
    let mut mount = Fields::in_value(mount.clone());
    let access = if mount.take("ReadOnly") == true { "ro" } else { "rw" };
    let said = json!({
        "type": mount.take("Type"),
        "source": mount.take("Source"),
        "destination": mount.take("Target"),
        "options": ["rbind", access],
    });
    mount.all_taken()?;
    Ok(said)
}

/// A share of a processor is so many microseconds of each tenth of a second.
fn resources(host: &mut Fields) -> Value {
    const PERIOD: i64 = 100_000;
    const NANO_IN_ONE: i64 = 1_000_000_000;
    let mut limits = Map::new();
    let (memory, swap) = (host.take("Memory"), host.take("MemorySwap"));
    if !memory.is_null() {
        limits.insert("memory".to_owned(), json!({ "limit": memory, "swap": swap }));
    }
    if let Some(nanos) = host.take("NanoCpus").as_i64() {
        let quota = nanos.saturating_mul(PERIOD / 1000) / (NANO_IN_ONE / 1000);
        limits.insert("cpu".to_owned(), json!({ "quota": quota, "period": PERIOD }));
    }
    let processes = host.take("PidsLimit");
    if !processes.is_null() {
        limits.insert("pids".to_owned(), json!({ "limit": processes }));
    }
    Value::Object(limits)
}

fn security(spec: &mut Map<String, Value>, options: &Value) -> Result<()> {
    for option in options.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let (key, value) = match option.split_once('=').unwrap_or((option, "")) {
            ("seccomp", path) => ("seccomp_profile_path", json!(path)),
            ("no-new-privileges", "") => ("no_new_privileges", json!(true)),
            ("apparmor", profile) => ("apparmor_profile", json!(profile)),
            ("label", label) => ("selinux_opts", json!([label])),
            ("unmask", "ALL") => ("unmask", json!(["ALL"])),
            _ => return Err(lost(option)),
        };
        spec.insert(key.to_owned(), value);
    }
    Ok(())
}

/// What is still to be said.
struct Fields(Map<String, Value>);

impl Fields {
    fn of(order: &ContainerCreateBody) -> Result<Self> {
        serde_json::to_value(order).map(Self::in_value).map_err(|_| lost("everything"))
    }

    fn in_value(value: Value) -> Self {
        Self(if let Value::Object(fields) = value { fields } else { Map::new() })
    }

    fn take(&mut self, name: &str) -> Value {
        self.0.remove(name).unwrap_or_default()
    }

    fn all_taken(&self) -> Result<()> {
        let left = self.0.iter().find(|(_, value)| !value.is_null());
        left.map_or(Ok(()), |(name, _)| Err(lost(name)))
    }
}

fn lost(what: &str) -> DriverError {
    DriverError::Unsupported(format!(
        "podman cannot make the container with a device: `{what}` has no word there"
    ))
}

#[cfg(test)]
mod tests {
    use bollard::models::HostConfig;
    use chiton_driver::Resources;

    use super::*;
    use crate::{
        Engine,
        container::{Brought, Given, WITHOUT, order},
        image::Image,
        user::User,
    };

    fn ordered() -> ContainerCreateBody {
        let image = Image { id: "sha256:1".into(), entrypoint: vec!["/evil".into()], ..Image::default() };
        let given = Given {
            id: "01abc",
            brought: Brought::Mounted { program: "/p".into(), hand_over: Some("/h".into()) },
            command: vec!["supervisor".to_owned()],
            workspace: Some(Path::new("/w")),
            profile: "/s.json".to_owned(),
            resources: Resources {
                cpu_millis: Some(1500),
                memory: Some(1 << 26),
                pids: Some(9),
                ..Resources::default()
            },
            gpu: &[],
        };
        order(&Engine::podman(None), &image, User { uid: 7, gid: 8 }, &given).unwrap()
    }

    #[test]
    fn the_whole_order_is_said_in_podmans_words() {
        let spec = Value::Object(spec(ordered()).unwrap());
        let mount = |source, name, access| {
            let destination = format!("/.chiton-01abc/{name}");
            json!({"type": "bind", "source": source, "destination": destination, "options": ["rbind", access]})
        };
        let mode = |mode: &str| json!({ "nsmode": mode });
        let expected = json!({
            "image": "sha256:1",
            "user": "7:8",
            "entrypoint": ["/.chiton-01abc/chiton"],
            "command": ["supervisor"],
            "work_dir": "/",
            "labels": {"dev.chiton.sandbox": "01abc"},
            "healthconfig": {"Test": ["NONE"]},
            "cap_drop": ["ALL"],
            "privileged": false,
            "remove": true,
            "init": false,
            "env": WITHOUT.iter().map(|name| ((*name).to_owned(), json!(""))).collect::<Map<_, _>>(),
            "netns": mode("none"),
            "userns": mode(Engine::podman(None).user_namespace().as_str()),
            "ipcns": mode("private"),
            "log_configuration": {"driver": "none"},
            "mounts": [mount("/p", "chiton", "ro"), mount("/w", "workspace", "rw"), mount("/h", "hand-over", "ro")],
            "resource_limits": {
                "memory": {"limit": 1 << 26, "swap": 1 << 26},
                "cpu": {"quota": 150_000, "period": 100_000},
                "pids": {"limit": 1033},
            },
            "seccomp_profile_path": "/s.json",
            "no_new_privileges": true,
            "apparmor_profile": "unconfined",
            "selinux_opts": ["disable"],
            "unmask": ["ALL"],
            "oom_score_adj": 0,
        });
        assert_eq!(spec, expected);
    }

    #[test]
    fn what_podman_has_no_word_for_is_never_left_out() {
        let more = ContainerCreateBody { tty: Some(true), ..ordered() };
        assert!(spec(more).unwrap_err().to_string().contains("`Tty`"));
        let more = ContainerCreateBody { env: Some(vec!["NAMELESS".to_owned()]), ..ordered() };
        assert!(spec(more).unwrap_err().to_string().contains("`Env`"));
        let host = HostConfig { readonly_rootfs: Some(true), ..ordered().host_config.unwrap() };
        let more = ContainerCreateBody { host_config: Some(host), ..ordered() };
        assert!(spec(more).unwrap_err().to_string().contains("`ReadonlyRootfs`"));
        let mut host = ordered().host_config.unwrap();
        host.mounts.as_mut().unwrap()[1].consistency = Some("cached".to_owned());
        let more = ContainerCreateBody { host_config: Some(host), ..ordered() };
        assert!(spec(more).unwrap_err().to_string().contains("`Consistency`"));
        let mut host = ordered().host_config.unwrap();
        host.security_opt.as_mut().unwrap().push("systempaths=unconfined".to_owned());
        let more = ContainerCreateBody { host_config: Some(host), ..ordered() };
        assert!(spec(more).unwrap_err().to_string().contains("`systempaths=unconfined`"));
    }
}
