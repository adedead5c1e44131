//! The view from inside: what is there, what is not, and what the host keeps.

mod harness;

use std::{os::unix::fs::MetadataExt as _, path::Path};

use chiton_confine::{
    plan::DeniedPath,
    view::{Source, Step},
};
use harness::{As, Setup, Workspace, kinds};

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn only_what_was_planned_is_there() {
    for who in kinds() {
        let workspace = Workspace::new(who);
        let out = Setup::new(who).workspace(workspace.path()).sh(
            "cat /etc/shadow /etc/gshadow /root/.ssh/id_rsa /var/lib/dpkg/status /etc/machine-id; \
             for p in /root /boot /work /old_root /opt /home/*; do test -e $p && echo $p; done; ls /tmp /run /sys; exit 0",
        );
        assert_eq!(out.status, 0, "{out:?}");
        assert_eq!(out.text.matches("No such file").count(), 5, "{out:?}");
        assert_eq!(lines(&out.text).iter().filter(|l| l.starts_with('/')).count(), 4, "{out:?}");
        assert!(out.text.contains("\n/home/agent\n"), "{out:?}");
    }
}

#[test]
fn every_mount_is_nosuid_and_only_the_shared_ones_can_be_written() {
    for who in kinds() {
        let workspace = Workspace::new(who);
        let out = Setup::new(who).workspace(workspace.path()).sh("cat /proc/self/mountinfo");
        let mut writable = Vec::new();
        for line in out.text.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (place, flags) = (fields[4], fields[5]);
            assert!(flags.contains("nosuid"), "{line}");
            assert!(flags.contains("nodev") || place.starts_with("/dev/"), "{line}");
            if !flags.split(',').any(|f| f == "ro") && !place.starts_with("/dev/") {
                writable.push(place.to_owned());
            }
        }
        writable.sort();
        assert_eq!(writable, ["/home/agent", "/proc", "/tmp", "/workspace"]);
    }
}

#[test]
fn nothing_of_the_system_can_be_written() {
    for who in kinds() {
        let out = Setup::new(who).sh(
            "for p in / /usr /usr/bin /etc /etc/ssl/certs /dev /var /run /home /proc/sys/kernel; do \
             touch $p/x 2>/dev/null && echo wrote $p; done; chmod 777 /etc && echo chmod; \
             echo x 2>/dev/null >> /etc/passwd && echo passwd; ls -a /; exit 0",
        );
        assert!(!out.text.contains("wrote") && !out.text.contains("passwd"), "{out:?}");
        assert!(!out.text.contains("mask"), "{out:?}");
    }
}

#[test]
fn the_workspace_is_live_and_keeps_its_owner() {
    for who in kinds() {
        let workspace = Workspace::new(who);
        workspace.write(who, "given", "from the host");
        let out = Setup::new(who)
            .workspace(workspace.path())
            .sh("cat /workspace/given; echo made > /workspace/new; mkdir /workspace/d; stat -c %U /workspace/given");
        assert_eq!(out.text, "from the hostagent\n");
        let made = std::fs::metadata(workspace.path().join("new")).unwrap();
        let given = std::fs::metadata(workspace.path().join("given")).unwrap();
        assert_eq!((made.uid(), made.gid()), (given.uid(), given.gid()));
        assert_eq!(made.mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_to_string(workspace.path().join("new")).unwrap(), "made\n");
    }
}

#[test]
fn a_read_only_path_is_the_hosts_and_cannot_be_written() {
    for who in kinds() {
        let shared = Workspace::new(who);
        shared.write(who, "data", "text");
        let mut setup = Setup::new(who);
        // Not below /tmp, which is the sandbox's own.
        let place = std::env::temp_dir();
        assert!(shared.path().starts_with(&place));
        let outside = Workspace(tempfile::tempdir_in("/var/tmp").unwrap());
        std::fs::write(outside.path().join("data"), "text").unwrap();
        std::fs::set_permissions(outside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        setup.rules.read_only = vec![outside.path().to_owned()];
        let path = outside.path().display();
        let out = setup.sh(&format!("cat {path}/data; echo x >> {path}/data || echo refused"));
        assert!(out.text.starts_with("text") && out.text.ends_with("refused\n"), "{out:?}");
    }
}

#[test]
fn a_path_that_is_not_there_is_named() {
    for who in kinds() {
        let mut setup = Setup::new(who);
        setup.rules.read_only = vec!["/srv/not-there".into()];
        let out = setup.sh("echo started");
        assert_eq!(out.status, 125);
        assert!(
            out.text.contains("`/srv/not-there` does not exist") && !out.text.contains("started"),
            "{out:?}"
        );
    }
}

#[test]
fn own_folders_never_enter_not_even_by_a_link() {
    for who in kinds() {
        let state = Workspace(tempfile::tempdir_in("/var/tmp").unwrap());
        let inner = state.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(state.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let link = Workspace(tempfile::tempdir_in("/var/tmp").unwrap());
        std::fs::set_permissions(link.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(state.path(), link.path().join("way")).unwrap();
        for path in [state.path(), &inner, &link.path().join("way"), Path::new("/var/tmp")] {
            let mut setup = Setup::new(who);
            setup.own_folders = vec![state.path().to_owned()];
            setup.rules.read_only = vec![path.to_owned()];
            let out = setup.sh("echo started");
            assert_eq!(out.status, 125, "{out:?}");
            assert!(out.text.contains("chiton's own folder"), "{out:?}");
        }
    }
}

#[test]
fn broad_paths_are_refused() {
    for path in
        ["/", "/run", "/proc/1/root", "/dev", "/sys", "/home/caller", "/home", "relative", "/srv/../etc"]
    {
        let mut setup = Setup::new(As::Ordinary);
        setup.rules.allowed.push(path.into());
        let out = setup.sh("echo started");
        assert_eq!(out.status, 125, "{path}: {out:?}");
    }
    for workspace in ["/home/caller", "/", "/proc/self/cwd"] {
        let out = Setup::new(As::Ordinary).workspace(Path::new(workspace)).sh("echo started");
        assert_eq!(out.status, 125, "{workspace}: {out:?}");
    }
}

#[test]
fn denied_paths_are_covered() {
    for who in kinds() {
        let workspace = Workspace::new(who);
        for name in [".env", "sub/deep/.env", "keys/a.pem", "dir/secret/x"] {
            workspace.write(who, name, "SECRET");
        }
        let mut setup = Setup::new(who).workspace(workspace.path());
        setup.rules.denied = vec![
            DeniedPath::Glob("**/.env".into()),
            DeniedPath::Glob("/workspace/keys/*.pem".into()),
            DeniedPath::Literal("/workspace/dir/secret".into()),
            DeniedPath::Literal("/workspace/not/there".into()),
        ];
        let script = "cat /workspace/.env /workspace/sub/deep/.env /workspace/keys/a.pem /workspace/dir/secret/x; exit 0";
        let out = setup.sh(script);
        assert!(!out.text.contains("SECRET") && out.text.matches("denied").count() == 4, "{out:?}");

        // Without the covers it is all there: this is what they are for.
        setup.change = |plan| {
            plan.view.retain(|step| {
                !matches!(step, Step::CoverMatches { .. } | Step::Cover { source: Source::Nothing, .. })
            });
        };
        assert_eq!(setup.sh(script).text.matches("SECRET").count(), 4);
    }
}

#[test]
fn what_the_host_would_run_is_protected() {
    for who in kinds() {
        let workspace = Workspace::new(who);
        for name in [".git/config", ".git/hooks/pre-commit", ".envrc", ".vscode/tasks.json"] {
            workspace.write(who, name, "host");
        }
        let script = "cd /workspace; for f in .git/config .git/hooks/pre-commit .envrc .vscode/tasks.json; do \
                      echo agent > $f; done 2>/dev/null; touch .git/index && echo index; \
                      cat .git/config .git/hooks/pre-commit .envrc .vscode/tasks.json";
        let mut setup = Setup::new(who).workspace(workspace.path());
        assert_eq!(setup.sh(script).text, "index\nhosthosthosthost");
        setup.rules.unprotected = [".git/config".to_owned()].into();
        assert_eq!(setup.sh(script).text, "index\nagent\nhosthosthost");
    }
}

#[test]
fn a_link_in_the_workspace_leads_no_mount_astray() {
    for who in kinds() {
        let workspace = Workspace::new(who);
        std::os::unix::fs::symlink("/usr/bin", workspace.path().join(".git")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/id", workspace.path().join(".envrc")).unwrap();
        let mut setup = Setup::new(who).workspace(workspace.path());
        let denied = ["/workspace/.envrc", "/workspace/.git/env", "/workspace/../etc/hostname"];
        setup.rules.denied = denied.map(|path| DeniedPath::Literal(path.into())).into();
        let out = setup.sh("/usr/bin/env true && /usr/bin/id -u > /dev/null && cat /etc/hostname");
        assert_eq!(out.text, "shell\n", "{out:?}");
    }
}

#[test]
fn tmp_is_private_and_writable_only_where_listed() {
    for who in kinds() {
        let workspace = Workspace::new(who);
        let mut setup = Setup::new(who).workspace(workspace.path());
        assert_eq!(setup.sh("touch /tmp/x /var/tmp/y && ls /tmp").text, "x\ny\n");
        setup.rules.allowed.retain(|p| p != Path::new("/tmp"));
        let out = setup.sh("touch /tmp/x || echo refused; touch ~/x && echo home");
        assert!(out.text.ends_with("refused\nhome\n"), "{out:?}");
        // The mount alone says so too.
        setup.change = |plan| plan.landlock.abi = 0;
        let out = setup.sh("touch /tmp/x || echo refused");
        assert!(out.text.contains("Read-only") && out.text.ends_with("refused\n"), "{out:?}");
    }
}

#[test]
fn processes_of_the_host_are_not_in_sight() {
    for who in kinds() {
        let out = Setup::new(who)
            .sh("ls -d /proc/[0-9]* | wc -l; echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/1/environ; \
             ls /proc/1/root/ /proc/1/cwd/; readlink /proc/1/exe; exit 0");
        let processes: u32 = lines(&out.text).first().unwrap().parse().unwrap();
        assert!(processes <= 4, "{out:?}");
        assert!(out.text.matches("denied").count() >= 3 && out.text.contains("Read-only"), "{out:?}");
    }
}

#[test]
fn the_bundle_ends_with_the_sandboxs_authority() {
    for who in kinds() {
        let out = Setup::new(who).sh(
            "tail -n 2 /etc/ssl/certs/ca-certificates.crt; for f in /etc/ssl/cert.pem /etc/pki/tls/certs/ca-bundle.crt; \
             do cmp $f /etc/ssl/certs/ca-certificates.crt && echo same; done",
        );
        assert_eq!(out.text, "sandbox authority\n-----END CERTIFICATE-----\nsame\nsame\n", "{out:?}");
    }
}

#[test]
fn javas_roots_have_it_too() {
    for who in kinds() {
        let mut setup = Setup::new(who);
        let certificate = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap();
        let (first, _) = certificate.split_once("-----END CERTIFICATE-----").unwrap();
        setup.authority = format!("{first}-----END CERTIFICATE-----\n");
        let out = setup.sh(
            "keytool -list -keystore /etc/ssl/certs/java/cacerts -storepass changeit | grep -A1 -E 'chiton-sandbox|contains'",
        );
        assert!(out.text.contains("chiton-sandbox") && out.text.contains("trustedCertEntry"), "{out:?}");
    }
}
