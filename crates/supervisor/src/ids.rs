//! Whom an image's `USER` stands for, by the image's own `/etc/passwd` and `/etc/group` (passwd(5), group(5)): a number
//! that is shown inside, and no right. Read while those are still this process's.

use std::path::Path;

use chiton_api::control::Failure;

use crate::{failure::status, links::OVERFLOW_ID};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// No file of accounts is longer.
const LONGEST: u64 = 4 << 20;

/// Its uid and gid. None for root's, which nobody has inside, and for the one that ids without a name look like.
pub(crate) fn of_image(user: &str) -> Result<Option<(u32, u32)>, Failure> {
    let read = |path| {
        let bytes = chiton_sys::file::read_short(Path::new(path), LONGEST).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let found = find(user, &read(PASSWD), &read(GROUP)).map_err(|file| {
        let why = format!(
            "the image's USER `{}` is not in its `{file}`: take another image, or build it with `USER UID`",
            user.escape_debug()
        );
        status(125, why)
    })?;
    Ok(Some(found).filter(|(uid, _)| ![0, OVERFLOW_ID, u32::MAX].contains(uid)))
}

/// As engines read it: a group that is not named is the account's, or 0. Else which file lacks it.
fn find(user: &str, passwd: &str, group: &str) -> Result<(u32, u32), &'static str> {
    let (name, named_group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
    let account =
        entries(passwd).find(|fields| fields.first() == Some(&name) || fields.get(2) == Some(&name));
    let number = |fields: &[&str], at: usize| fields.get(at).and_then(|field| field.parse().ok());
    let uid = account.as_ref().and_then(|fields| number(fields, 2)).or_else(|| name.parse().ok());
    let uid = uid.or((name == "root").then_some(0));
    let gid = match named_group {
        None => Some(account.as_ref().and_then(|fields| number(fields, 3)).unwrap_or(0)),
        Some(named) => {
            let entry = entries(group).find(|fields| fields.first() == Some(&named));
            entry.and_then(|fields| number(&fields, 2)).or_else(|| named.parse().ok())
        }
    };
    Ok((uid.ok_or(PASSWD)?, gid.ok_or(GROUP)?))
}

fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_as_engines_do() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\nodd\n7:x:8:9::/:\n";
        let group = "staff:x:50:\nnode:x:1001:\n";
        for (user, ids) in [
            ("node", (1000, 1001)),
            ("1000", (1000, 1001)),
            ("node:staff", (1000, 50)),
            ("node:7", (1000, 7)),
            ("1234", (1234, 0)),
            ("1234:5678", (1234, 5678)),
            ("7", (8, 9)),
            ("root", (0, 0)),
        ] {
            assert_eq!(find(user, passwd, group), Ok(ids), "{user}");
        }
        for user in ["nobody", "node:nobody", "", "odd", "-1", "4294967296"] {
            assert!(find(user, passwd, group).is_err(), "{user}");
        }
        assert_eq!((find("5", "", ""), find("root", "", "")), (Ok((5, 0)), Ok((0, 0))));
    }

    #[test]
    fn what_is_nobody_inside_is_not_shown() {
        for user in ["0", "0:5", "65534", "4294967295"] {
            assert_eq!(of_image(user).unwrap(), None, "{user}");
        }
        assert_eq!(of_image("123456:7").unwrap(), Some((123_456, 7)));
    }
}
