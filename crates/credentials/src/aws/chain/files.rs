//! The files that AWS's own tools share: `~/.aws/config`, and `~/.aws/credentials`, which comes first.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{ChainError, Variables};

/// Everything in them, by profile.
#[derive(Default)]
pub(super) struct Profiles(BTreeMap<String, Section>);

/// One profile.
#[derive(Default)]
pub(super) struct Section(BTreeMap<String, Zeroizing<String>>);

impl Section {
    /// What is no secret.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.secret(key).map(str::to_owned)
    }

    pub(super) fn secret(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// What a section of a file is of.
enum Of {
    Profile(String),
    /// Something that no credentials are in.
    Other,
}

impl Profiles {
    pub(super) fn get(&self, name: &str) -> Option<&Section> {
        self.0.get(name)
    }

    /// As they are now. A file that is not there is empty.
    pub(super) async fn load(variables: &Variables) -> Result<Self, ChainError> {
        let home = variables.get("HOME").map(PathBuf::from);
        let place = |variable: &str, name: &str| match variables.get(variable) {
            Some(told) => match (told.strip_prefix("~/"), &home) {
                (Some(rest), Some(home)) => Some(home.join(rest)),
                _ => Some(PathBuf::from(told)),
            },
            None => home.as_ref().map(|home| home.join(".aws").join(name)),
        };
        let config = place("AWS_CONFIG_FILE", "config");
        let credentials = place("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let loaded = spawn_blocking(move || {
            let mut profiles = Self::default();
            if let Some(path) = config {
                profiles.read(&path, in_config)?;
            }
            if let Some(path) = credentials {
                profiles.read(&path, |name| Of::Profile(name.to_owned()))?;
            }
            Ok(profiles)
        });
        loaded.await.unwrap_or_else(|_| Ok(Self::default()))
    }

    fn read(&mut self, path: &Path, of: fn(&str) -> Of) -> Result<(), ChainError> {
        let read = fs::metadata(path).and_then(|about| {
            // One that waits for its other end would never be read.
            if about.is_file() {
                fs::read_to_string(path)
            } else {
                Err(io::Error::other("it is not a regular file"))
            }
        });
        let text = match read {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(ChainError::File { path: path.to_owned(), source }),
        };
        self.parse(&text, of).map_err(|line| ChainError::Form { path: path.to_owned(), line })
    }

    /// The error is a line's number.
    fn parse(&mut self, text: &str, of: fn(&str) -> Of) -> Result<(), usize> {
        let mut section = None;
        for (index, line) in text.lines().enumerate() {
            let whole = line.trim();
            if whole.is_empty() || whole.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = whole.strip_prefix('[') {
                let (name, _) = rest.split_once(']').ok_or(index + 1)?;
                section = Some(of(name.trim()));
                continue;
            }
            // What is indented belongs to the key before, of which none is used here.
            if line.starts_with([' ', '\t']) {
                continue;
            }
            let (key, value) = whole.split_once('=').ok_or(index + 1)?;
            match &section {
                None => return Err(index + 1),
                Some(Of::Other) => {}
                Some(Of::Profile(name)) => {
                    let value = without_comment(value).trim();
                    let keys = &mut self.0.entry(name.clone()).or_default().0;
                    keys.insert(key.trim().to_ascii_lowercase(), Zeroizing::new(value.to_owned()));
                }
            }
        }
        Ok(())
    }
}

fn in_config(name: &str) -> Of {
    match name.split_once(char::is_whitespace) {
        Some(("profile", name)) => Of::Profile(name.trim().trim_matches(['"', '\'']).to_owned()),
        None if name == "default" => Of::Profile(name.to_owned()),
        _ => Of::Other,
    }
}

fn without_comment(value: &str) -> &str {
    let at = [" #", " ;", "\t#", "\t;"].iter().filter_map(|begin| value.find(begin)).min();
    at.and_then(|at| value.get(..at)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_and_what_stands_between() {
        let mut profiles = Profiles::default();
        let config = "# of mine\n[default]\nregion=us-east-1 # here\n[profile  a b]\nrole_arn = arn:x\ns3 =\n  max = 1\n\
                      [sso-session x]\nsso_start_url = y\n[services s]\nz = 1\n";
        profiles.parse(config, in_config).unwrap();
        profiles.parse("[a b]\nAWS_Access_Key_Id = AK=ID\n[c]\n", |name| Of::Profile(name.into())).unwrap();
        let says = |name: &str, key: &str| profiles.get(name).and_then(|section| section.get(key));
        assert_eq!(says("default", "region").as_deref(), Some("us-east-1"));
        assert_eq!(says("a b", "role_arn").as_deref(), Some("arn:x"));
        assert_eq!(says("a b", "aws_access_key_id").as_deref(), Some("AK=ID"));
        assert_eq!((says("a b", "max"), says("x", "sso_start_url"), says("a b", "s3")), (None, None, None));
        for (text, line) in [("key = 1\n", 1), ("[default]\nno key\n", 2), ("[default\n", 1)] {
            assert_eq!(Profiles::default().parse(text, in_config), Err(line), "{text}");
        }
    }
}
