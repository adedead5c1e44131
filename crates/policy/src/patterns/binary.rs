//! An entry of `binaries`: an executable, or an interpreter with the one script that it was started with.

use std::fmt;

use super::{FileGlob, FileGlobError};

/// A pattern over who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryPattern {
    program: FileGlob,
    /// One path, without a star.
    script: Option<FileGlob>,
}

/// Why a text is no pattern of `binaries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BinaryPatternError {
    /// One of its paths is none.
    #[error(transparent)]
    Glob(#[from] FileGlobError),
    /// A star in the script's path, or what is behind it.
    #[error("behind an interpreter stands the path of one script, without stars and without arguments")]
    Script,
}

impl BinaryPattern {
    /// Reads `/program`, or `/interpreter /script`.
    ///
    /// # Errors
    /// When one of them is no pattern of a file, or the script is not one path.
    pub fn parse(text: &str) -> Result<Self, BinaryPatternError> {
        let starts = [" /", " ~/", " **/"].into_iter().filter_map(|start| text.find(start));
        let Some((program, script)) = starts.min().and_then(|at| text.split_at_checked(at)) else {
            return Ok(Self { program: FileGlob::parse(text)?, script: None });
        };
        let script = script.trim_start();
        let glob = FileGlob::parse(script)?;
        if script.contains(char::is_whitespace) || !glob.is_literal() {
            return Err(BinaryPatternError::Script);
        }
        Ok(Self { program: FileGlob::parse(program.trim_end())?, script: Some(glob) })
    }

    /// The executable.
    #[must_use]
    pub const fn program(&self) -> &FileGlob {
        &self.program
    }

    /// The script, where there is to be one.
    #[must_use]
    pub const fn script(&self) -> Option<&FileGlob> {
        self.script.as_ref()
    }

    /// Both.
    pub(crate) fn globs(&self) -> impl Iterator<Item = &FileGlob> {
        std::iter::once(&self.program).chain(&self.script)
    }

    /// Whether something is matched by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let scripts = match (&self.script, &other.script) {
            (Some(one), Some(two)) => one.overlaps(two),
            (None, _) | (_, None) => true,
        };
        scripts && self.program.overlaps(&other.program)
    }
}

impl fmt::Display for BinaryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.script {
            Some(script) => write!(f, "{} {script}", self.program),
            None => self.program.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_and_perhaps_its_script() {
        let read = |text: &str| BinaryPattern::parse(text);
        let tool = read("/usr/bin/python3  /opt/tool.py").unwrap();
        assert_eq!(tool.to_string(), "/usr/bin/python3 /opt/tool.py");
        assert_eq!(read(&tool.to_string()).unwrap(), tool);
        assert_eq!(tool.script().unwrap().as_str(), "/opt/tool.py");
        assert!(read("/usr/bin/python* ~/bin/tool").unwrap().script().is_some());
        assert!(read("/opt/with space/tool").unwrap().script().is_none());
        for bad in [
            "/usr/bin/python3 /opt/*.py",
            "/usr/bin/python3 **/x",
            "/usr/bin/env /usr/bin/python3 /x",
            "/a /b -c",
        ] {
            assert_eq!(read(bad).unwrap_err(), BinaryPatternError::Script, "{bad}");
        }
        assert!(matches!(read("python3 /opt/tool.py"), Err(BinaryPatternError::Glob(_))));
        let (any, other) = (read("/usr/bin/*").unwrap(), read("/usr/bin/python3 /opt/other.py").unwrap());
        assert!(tool.overlaps(&any) && any.overlaps(&other) && !tool.overlaps(&other));
    }
}
