//! The verbs, one file each.

pub(crate) mod attach;
pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod exec;
pub(crate) mod gateway;
pub(crate) mod init;
pub(crate) mod llm;
pub(crate) mod logs;
pub(crate) mod policy;
pub(crate) mod ps;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod secret;
pub(crate) mod show;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod wait;

use crate::error::CliError;

/// Does something with each name; one that fails does not keep the others from being tried.
pub(crate) fn each(
    names: &[String],
    mut act: impl FnMut(&str) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut first = None;
    for name in names {
        if let Err(error) = act(name) {
            if first.is_some() {
                crate::output::note(error.render().trim_end());
            } else {
                first = Some(error);
            }
        }
    }
    first.map_or(Ok(()), Err)
}
