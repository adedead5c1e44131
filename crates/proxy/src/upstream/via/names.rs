//! What a name alone says of where it leads, for names that are not resolved here.
//!
//! It is all that can be checked of them: a public name may have a private address, and only who resolves it knows.

use chiton_policy::HostName;

use crate::upstream::address::Reach;

/// Names of machines' own side, and of metadata services.
const NEVER: [&str; 9] = [
    "localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
    "broadcasthost",
    "metadata.google.internal",
    "metadata.goog",
    "metadata",
    "instance-data",
];

/// What is never public: reserved for private use, or handed out by routers and company servers.
const PRIVATE: [&str; 11] = [
    "internal",
    "local",
    "localdomain",
    "lan",
    "home",
    "corp",
    "intranet",
    "private",
    "home.arpa",
    "test",
    "invalid",
];

/// Where a name leads, as far as it says so.
pub(crate) fn reach_of_name(name: &HostName) -> Reach {
    let text = name.as_str();
    let is = |entry: &str| text == entry || is_below(text, entry);
    if NEVER.iter().any(|entry| is(entry)) || text.starts_with("instance-data.") {
        Reach::Never
    } else if !text.contains('.') || PRIVATE.iter().any(|entry| is(entry)) || is_below(text, "in-addr.arpa") {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|before| before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use chiton_policy::Host;

    use super::*;

    #[test]
    fn a_name_says_what_it_can() {
        let reach = |text: &str| match Host::parse(text).unwrap() {
            Host::Name(name) => reach_of_name(&name),
            Host::Ip(_) => panic!("{text} is an address"),
        };
        for name in [
            "localhost",
            "a.LocalHost",
            "metadata.google.internal.",
            "metadata",
            "instance-data.ec2.internal",
        ] {
            assert_eq!(reach(name), Reach::Never, "{name}");
        }
        for name in ["git", "git.corp", "a.b.internal", "printer.local", "router.home.arpa", "nas.lan"] {
            assert_eq!(reach(name), Reach::Private, "{name}");
        }
        for name in ["api.github.com", "corp.example.com", "internal.example.com", "metadata.example.com"] {
            assert_eq!(reach(name), Reach::Public, "{name}");
        }
    }
}
