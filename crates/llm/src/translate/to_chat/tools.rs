//! Tools, and which of them is to be called.

use serde_json::value::RawValue;

use super::{Fields, Place, TO, Untranslatable, fates};
use crate::translate::write::Obj;

pub(super) fn tool(raw: &RawValue, place: &Place<'_>) -> Result<String, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    if fields.word("type")?.is_some_and(|kind| kind != "custom") {
        return Err(place.key("type").refused(TO, "only tools with a schema of their own are known there"));
    }
    let mut function = Obj::new().text("name", fields.need_text("name")?);
    if let Some(description) = fields.text("description")? {
        function = function.text("description", description);
    }
    function = function.raw("parameters", fields.need_object("input_schema")?);
    if let Some(strict) = fields.flag("strict")? {
        function = function.raw("strict", if strict { "true" } else { "false" });
    }
    fields.settle(fates::TOOL)?;
    Ok(Obj::new().str("type", "function").raw("function", &function.end()).end())
}

#[derive(Default)]
pub(super) struct Choice {
    pub(super) choice: Option<String>,
    pub(super) one_at_a_time: bool,
}

pub(super) fn choice(raw: &RawValue, place: &Place<'_>) -> Result<Choice, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    let one_at_a_time = fields.flag("disable_parallel_tool_use")?.unwrap_or(false);
    let choice = match fields.need_word("type")?.as_str() {
        "auto" => r#""auto""#.to_owned(),
        "any" => r#""required""#.to_owned(),
        "none" => r#""none""#.to_owned(),
        "tool" => {
            let function = Obj::new().text("name", fields.need_text("name")?).end();
            Obj::new().str("type", "function").raw("function", &function).end()
        }
        _ => return Err(place.key("type").refused(TO, "there is no such choice")),
    };
    fields.settle(fates::NOTHING)?;
    Ok(Choice { choice: Some(choice), one_at_a_time })
}
