//! What was said: the system's words, the user's, the model's, and the results of tools.

use serde_json::value::RawValue;

use super::{Content, Fields, Place, TO, Untranslatable, fates, read};
use crate::translate::{
    read::Text,
    write::{Obj, list, quoted, text_block},
};

/// What stands before the result of a tool that failed: there is no other way to say so.
const FAILED: &str = "Error: ";

pub(super) fn all(raw: &RawValue, place: &Place<'_>, out: &mut Vec<String>) -> Result<(), Untranslatable> {
    let turns: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| place.wrong("a list"))?;
    let last = turns.len().saturating_sub(1);
    for (index, raw) in turns.into_iter().enumerate() {
        let place = place.item(index);
        let mut fields = Fields::of(raw, &place, TO)?;
        let role = fields.need_word("role")?;
        let said = fields.need("content")?;
        fields.settle(fates::NOTHING)?;
        let at = place.key("content");
        match role.as_str() {
            "user" => user(said, &at, out)?,
            "assistant" if index == last => {
                return Err(
                    place.refused(TO, "a model does not go on from words that are put into its mouth")
                );
            }
            "assistant" => out.push(assistant(said, &at)?),
            "system" => system(said, &at, out)?,
            _ => return Err(place.key("role").wrong("`user`, `assistant` or `system`")),
        }
    }
    Ok(())
}

pub(super) fn system(raw: &RawValue, place: &Place<'_>, out: &mut Vec<String>) -> Result<(), Untranslatable> {
    let said = texts(raw, place)?;
    if said != "[]" {
        out.push(Obj::new().str("role", "system").raw("content", &said).end());
    }
    Ok(())
}

/// Texts alone; one as a plain string, which every server reads.
fn texts(raw: &RawValue, place: &Place<'_>) -> Result<String, Untranslatable> {
    let blocks = match read::content(raw, place)? {
        Content::Text(text) => return Ok(text.0.to_owned()),
        Content::Blocks(blocks) => blocks,
    };
    let mut texts = Vec::new();
    for (index, raw) in blocks.into_iter().enumerate() {
        let place = place.item(index);
        let mut fields = Fields::of(raw, &place, TO)?;
        if fields.need_word("type")? != "text" {
            return Err(place.key("type").refused(TO, "only text can stand here"));
        }
        texts.push(text(fields)?);
    }
    Ok(joined(&texts))
}

fn joined(texts: &[Text<'_>]) -> String {
    match texts {
        [only] => only.0.to_owned(),
        texts => list(&texts.iter().map(|text| text_block(*text)).collect::<Vec<_>>()),
    }
}

fn text<'a>(mut fields: Fields<'a, '_>) -> Result<Text<'a>, Untranslatable> {
    let text = fields.need_text("text")?;
    fields.settle(fates::BLOCK)?;
    Ok(text)
}

fn user(raw: &RawValue, place: &Place<'_>, out: &mut Vec<String>) -> Result<(), Untranslatable> {
    let blocks = match read::content(raw, place)? {
        Content::Text(text) => {
            out.push(Obj::new().str("role", "user").text("content", text).end());
            return Ok(());
        }
        Content::Blocks(blocks) => blocks,
    };
    let (mut texts, mut parts, mut results) = (Vec::new(), Vec::new(), false);
    for (index, raw) in blocks.into_iter().enumerate() {
        let place = place.item(index);
        let mut fields = Fields::of(raw, &place, TO)?;
        match fields.need_word("type")?.as_str() {
            "text" => {
                let text = text(fields)?;
                texts.push(text);
                parts.push(text_block(text));
            }
            "image" => parts.push(image(fields)?),
            "tool_result" if !parts.is_empty() => {
                let why = "a result stands after other content; put the results of tools first";
                return Err(place.refused(TO, why));
            }
            "tool_result" => {
                results = true;
                out.push(result(fields)?);
            }
            _ => return Err(place.key("type").refused(TO, "users say text and images there")),
        }
    }
    if parts.is_empty() && results {
        return Ok(());
    }
    let said = if texts.len() == parts.len() { joined(&texts) } else { list(&parts) };
    out.push(Obj::new().str("role", "user").raw("content", &said).end());
    Ok(())
}

fn image(mut fields: Fields<'_, '_>) -> Result<String, Untranslatable> {
    let place = fields.place.key("source");
    let mut source = Fields::of(fields.need("source")?, &place, TO)?;
    fields.settle(fates::BLOCK)?;
    let url = match source.need_word("type")?.as_str() {
        "url" => source.need_text("url")?.0.to_owned(),
        "base64" => {
            let (kind, data) = (source.need_text("media_type")?, source.need_text("data")?);
            format!("\"data:{};base64,{}\"", kind.inner(), data.inner())
        }
        _ => return Err(place.key("type").refused(TO, "the backend has no files of Anthropic's")),
    };
    source.settle(fates::NOTHING)?;
    let url = Obj::new().raw("url", &url).end();
    Ok(Obj::new().str("type", "image_url").raw("image_url", &url).end())
}

fn result(mut fields: Fields<'_, '_>) -> Result<String, Untranslatable> {
    let call = fields.need_text("tool_use_id")?;
    let failed = fields.flag("is_error")?.unwrap_or(false);
    let said = match fields.take("content") {
        Some(raw) => texts(raw, &fields.place.key("content"))?,
        None => "\"\"".to_owned(),
    };
    fields.settle(fates::BLOCK)?;
    let said = if !failed {
        said
    } else if let Some(text) = said.strip_prefix('"') {
        format!("\"{FAILED}{text}")
    } else {
        let failed = text_block(Text(&quoted(FAILED)));
        let rest = said.strip_prefix('[').unwrap_or("]");
        format!("[{failed}{}{rest}", if rest == "]" { "" } else { "," })
    };
    Ok(Obj::new().str("role", "tool").text("tool_call_id", call).raw("content", &said).end())
}

fn assistant(raw: &RawValue, place: &Place<'_>) -> Result<String, Untranslatable> {
    let out = Obj::new().str("role", "assistant");
    let blocks = match read::content(raw, place)? {
        Content::Text(text) => return Ok(out.text("content", text).end()),
        Content::Blocks(blocks) => blocks,
    };
    let (mut texts, mut calls) = (Vec::new(), Vec::new());
    for (index, raw) in blocks.into_iter().enumerate() {
        let place = place.item(index);
        let mut fields = Fields::of(raw, &place, TO)?;
        match fields.need_word("type")?.as_str() {
            "text" if !calls.is_empty() => {
                return Err(place.refused(TO, "a message's text stands before its calls; put it first"));
            }
            "text" => texts.push(text(fields)?),
            "tool_use" => calls.push(call(fields)?),
            kind if fates::THOUGHTS.contains(&kind) => {}
            _ => return Err(place.key("type").refused(TO, "models say text and call functions there")),
        }
    }
    let said =
        if texts.is_empty() && !calls.is_empty() { "null".to_owned() } else { joined_or_empty(&texts) };
    let calls = (!calls.is_empty()).then(|| list(&calls));
    Ok(out.raw("content", &said).some("tool_calls", calls.as_deref()).end())
}

fn joined_or_empty(texts: &[Text<'_>]) -> String {
    if texts.is_empty() { "\"\"".to_owned() } else { joined(texts) }
}

/// The arguments are the input's own bytes, as a string.
fn call(mut fields: Fields<'_, '_>) -> Result<String, Untranslatable> {
    let id = fields.need_text("id")?;
    let function = Obj::new().text("name", fields.need_text("name")?);
    let function = function.str("arguments", fields.need_object("input")?).end();
    fields.settle(fates::BLOCK)?;
    Ok(Obj::new().text("id", id).str("type", "function").raw("function", &function).end())
}
