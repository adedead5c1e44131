//! What a sidecar's container is made from: no file of an image, none of this machine, the engine's own network.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};

use super::{ROLE, TMP, files::MOST};
use crate::{
    container::{Places, held, of_ours, volume},
    image::Image,
    profile,
    user::User,
};

/// Its processes: itself, its proxy and its threads, and one for each connection of the gateway.
const PROCESSES: i64 = 1024;

/// How it is called beside the sandbox's container.
pub(crate) fn name(container: &str) -> String {
    format!("{container}-sidecar")
}

/// The engine's order. The volume is nobody's but theirs: the engine removes it with the last of the two.
pub(crate) fn order(sandbox: &str, image: &Image, user: User) -> ContainerCreateBody {
    let command = [Places::beside(sandbox).program(), ROLE.to_owned()];
    of_ours((image, user), sandbox, command.into_iter(), host(sandbox, user))
}

fn host(sandbox: &str, user: User) -> HostConfig {
    let options = [format!("seccomp={}", profile::of_sidecar()), "no-new-privileges".to_owned()];
    let User { uid, gid } = user;
    let tmp = format!("rw,noexec,nosuid,nodev,mode=0700,uid={uid},gid={gid},size={MOST}");
    HostConfig {
        readonly_rootfs: Some(true),
        userns_mode: Some("host".to_owned()),
        pids_limit: Some(PROCESSES),
        mounts: Some(vec![volume(sandbox)]),
        tmpfs: Some(HashMap::from([(TMP.to_owned(), tmp)])),
        auto_remove: Some(true),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        ..held(options.into())
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::MountType;

    use super::*;

    #[test]
    fn nothing_of_this_machine_is_in_it() {
        let image = Image { id: "i".into(), ..Image::default() };
        let order = order("01abc", &image, User { uid: 7, gid: 8 });
        let host = order.host_config.unwrap();
        for mount in host.mounts.unwrap() {
            assert_eq!((mount.typ, mount.source), (Some(MountType::VOLUME), None));
        }
        assert!(host.binds.is_none() && host.network_mode.is_none() && order.network_disabled.is_none());
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(order.user.unwrap(), "7:8");
    }
}
