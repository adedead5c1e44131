//! Which secret a reference means: `name`, `name?stage=AWSPREVIOUS`, `name?version=ID`, or an ARN in the name's place.

/// Which one, and which version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SecretId<'a> {
    pub(super) name: &'a str,
    pub(super) version: Version<'a>,
}

/// Which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version<'a> {
    /// The one that holds: `AWSCURRENT`.
    Current,
    /// The one with this label.
    Stage(&'a str),
    /// This one.
    Id(&'a str),
}

impl<'a> SecretId<'a> {
    /// Of what stands before `#`.
    pub(super) fn of(locator: &'a str) -> Self {
        let (name, told) = locator.split_once('?').unwrap_or((locator, ""));
        let version = match told.split_once('=') {
            Some(("stage", stage)) => Version::Stage(stage),
            Some(("version", id)) => Version::Id(id),
            _ => Version::Current,
        };
        Self { name, version }
    }

    /// The region that an ARN names.
    pub(super) fn region(&self) -> Option<&'a str> {
        let mut parts = self.name.strip_prefix("arn:")?.split(':').skip(2);
        parts.next().filter(|region| !region.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_arns_and_versions() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:team/key-AbCdEf";
        for (locator, name, version, region) in [
            ("key", "key", Version::Current, None),
            ("/prod/a@b/key", "/prod/a@b/key", Version::Current, None),
            ("key?stage=AWSPREVIOUS", "key", Version::Stage("AWSPREVIOUS"), None),
            ("key?version=a-1", "key", Version::Id("a-1"), None),
            (arn, arn, Version::Current, Some("eu-west-1")),
        ] {
            let id = SecretId::of(locator);
            assert_eq!((id.name, id.version, id.region()), (name, version, region));
        }
    }
}
