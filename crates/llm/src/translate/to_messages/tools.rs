//! Functions, and which of them is to be called.

use serde_json::value::RawValue;

use super::{Fields, Place, TO, Untranslatable, fates};
use crate::translate::write::Obj;

/// A function that takes nothing.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

pub(super) fn tool(raw: &RawValue, place: &Place<'_>) -> Result<String, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    if fields.need_word("type")? != "function" {
        return Err(place.key("type").refused(TO, "only functions are known there"));
    }
    let place = place.key("function");
    let mut function = Fields::of(fields.need("function")?, &place, TO)?;
    fields.settle(fates::NOTHING)?;
    let mut out = Obj::new().text("name", function.need_text("name")?);
    if let Some(description) = function.text("description")? {
        out = out.text("description", description);
    }
    out = out.raw("input_schema", function.object("parameters")?.unwrap_or(NO_PARAMETERS));
    if function.flag("strict")? == Some(true) {
        out = out.raw("strict", "true");
    }
    function.settle(fates::NOTHING)?;
    Ok(out.end())
}

/// Which is to be called, and whether several at a time: Anthropic has both in one place.
pub(super) fn choice(fields: &mut Fields<'_, '_>, has_tools: bool) -> Result<Option<String>, Untranslatable> {
    let one_at_a_time = fields.flag("parallel_tool_calls")? == Some(false) && has_tools;
    let chosen = fields.take("tool_choice");
    let place = fields.place.key("tool_choice");
    let out = match chosen {
        None if one_at_a_time => Obj::new().str("type", "auto"),
        None => return Ok(None),
        Some(raw) => match raw.get() {
            r#""auto""# => Obj::new().str("type", "auto"),
            r#""required""# => Obj::new().str("type", "any"),
            r#""none""# => return Ok(Some(Obj::new().str("type", "none").end())),
            text if text.starts_with('"') => return Err(place.refused(TO, "there is no such choice")),
            _ => named(raw, &place)?,
        },
    };
    let out = if one_at_a_time { out.raw("disable_parallel_tool_use", "true") } else { out };
    Ok(Some(out.end()))
}

fn named(raw: &RawValue, place: &Place<'_>) -> Result<Obj, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    if fields.need_word("type")? != "function" {
        return Err(place.key("type").refused(TO, "only one function, all or none can be chosen there"));
    }
    let place = place.key("function");
    let mut function = Fields::of(fields.need("function")?, &place, TO)?;
    fields.settle(fates::NOTHING)?;
    let out = Obj::new().str("type", "tool").text("name", function.need_text("name")?);
    function.settle(fates::NOTHING)?;
    Ok(out)
}
