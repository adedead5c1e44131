//! Which engine is mounted where: told by the operator, or asked for as Vault's own command line does.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chiton_secret::SecretValue;

use super::{
    KvVersion, VaultError,
    answers::{AboutMount, Mounted, parse},
    client::{Ask, Client, fault},
};

/// Mounts by their paths, without a slash at the end.
pub(super) struct Mounts {
    told: BTreeMap<String, KvVersion>,
    found: Mutex<BTreeMap<String, KvVersion>>,
}

impl Mounts {
    pub(super) fn new(told: BTreeMap<String, KvVersion>) -> Self {
        Self { told, found: Mutex::default() }
    }

    /// The version of a secret's mount, and what to ask for.
    pub(super) async fn target(
        &self,
        client: &Client,
        path: &str,
        token: &SecretValue,
    ) -> Result<(KvVersion, String), VaultError> {
        let known = longest(&self.told, path).or_else(|| longest(&self.found(), path));
        let (mount, version) = match known {
            Some(known) => known,
            None => {
                let (mount, version) = ask(client, path, token).await?;
                self.found().insert(mount.clone(), version);
                (mount, version)
            }
        };
        let rest = below(path, &mount).ok_or(VaultError::Missing { field: None })?;
        let target = match version {
            KvVersion::V1 => format!("{mount}/{rest}"),
            KvVersion::V2 => format!("{mount}/data/{rest}"),
        };
        Ok((version, target))
    }

    /// What was found out of a path's mount is asked for again.
    pub(super) fn forget(&self, path: &str) {
        self.found().retain(|mount, _| below(path, mount).is_none());
    }

    fn found(&self) -> MutexGuard<'_, BTreeMap<String, KvVersion>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mount that a path lies below: no mount lies within another's name, so the longest is the one.
fn longest(mounts: &BTreeMap<String, KvVersion>, path: &str) -> Option<(String, KvVersion)> {
    let of_it = mounts.iter().filter(|(mount, _)| below(path, mount).is_some());
    of_it.max_by_key(|(mount, _)| mount.len()).map(|(mount, version)| (mount.clone(), *version))
}

/// What stands behind a mount's path, where there is something.
fn below<'a>(path: &'a str, mount: &str) -> Option<&'a str> {
    path.strip_prefix(mount)?.strip_prefix('/').filter(|rest| !rest.is_empty())
}

async fn ask(client: &Client, path: &str, token: &SecretValue) -> Result<(String, KvVersion), VaultError> {
    let answer = client.ask(Ask::get(&format!("sys/internal/ui/mounts/{path}")).by(token)).await?;
    match answer.status() {
        200 => {}
        403 => return Err(VaultError::HiddenMount),
        404 => return Err(VaultError::Missing { field: None }),
        _ => return Err(fault(&answer)),
    }
    let AboutMount { path: mount, kind, options } = parse::<Mounted>(answer.body())?.data;
    if kind != "kv" && kind != "generic" {
        return Err(VaultError::NotKv);
    }
    let mount = mount.trim_end_matches('/').to_owned();
    if below(path, &mount).is_none() {
        return Err(VaultError::Odd("it names a mount that the path is not below"));
    }
    match options.and_then(|options| options.version).as_deref() {
        None | Some("" | "1") => Ok((mount, KvVersion::V1)),
        Some("2") => Ok((mount, KvVersion::V2)),
        Some(_) => Err(VaultError::NotKv),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_is_the_one() {
        let mounts = [("kv".to_owned(), KvVersion::V2), ("kv/team".to_owned(), KvVersion::V1)].into();
        assert_eq!(longest(&mounts, "kv/a"), Some(("kv".to_owned(), KvVersion::V2)));
        assert_eq!(longest(&mounts, "kv/team/a"), Some(("kv/team".to_owned(), KvVersion::V1)));
        assert_eq!(longest(&mounts, "kv/teams"), Some(("kv".to_owned(), KvVersion::V2)));
        assert_eq!(longest(&mounts, "kvs/a"), None);
        assert_eq!(longest(&mounts, "kv"), None);
    }
}
