//! What was said, as turns: the results of tools become the user's, in their order.

use serde_json::value::RawValue;

use super::{Content, Fields, Place, TO, Text, Untranslatable, fates, read};
use crate::translate::write::{Obj, list, text_block};

/// The media types of images that Anthropic takes.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

pub(super) struct Said {
    pub(super) system: Option<String>,
    pub(super) messages: String,
}

/// A turn that is being written.
struct Turn<'a> {
    role: &'static str,
    /// What it says, where that is a plain string.
    plain: Option<Text<'a>>,
    blocks: Vec<String>,
    /// It began with the results of tools, so that what the user says next belongs to it.
    results: bool,
}

impl<'a> Turn<'a> {
    const fn plain(role: &'static str, text: Text<'a>) -> Self {
        Self { role, plain: Some(text), blocks: Vec::new(), results: false }
    }

    const fn of(role: &'static str, blocks: Vec<String>) -> Self {
        Self { role, plain: None, blocks, results: false }
    }

    fn into_blocks(self) -> Vec<String> {
        match self.plain {
            Some(text) => vec![text_block(text)],
            None => self.blocks,
        }
    }

    fn content(self) -> String {
        match self.plain {
            Some(text) => text.0.to_owned(),
            None => list(&self.blocks),
        }
    }
}

pub(super) fn all(raw: &RawValue, place: &Place<'_>) -> Result<Said, Untranslatable> {
    let messages: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| place.wrong("a list"))?;
    let (mut system, mut turns): (Vec<Turn<'_>>, Vec<Turn<'_>>) = (Vec::new(), Vec::new());
    for (index, raw) in messages.into_iter().enumerate() {
        let place = place.item(index);
        let mut fields = Fields::of(raw, &place, TO)?;
        match fields.need_word("role")?.as_str() {
            "system" | "developer" => {
                let turn = texts("system", &mut fields)?;
                if turns.is_empty() { system.push(turn) } else { turns.push(turn) }
            }
            "user" => {
                let turn = user(&mut fields)?;
                match turns.last_mut() {
                    Some(last) if last.results => last.blocks.extend(turn.into_blocks()),
                    Some(_) | None => turns.push(turn),
                }
            }
            "assistant" => turns.push(assistant(&mut fields)?),
            "tool" => {
                let result = result(&mut fields)?;
                match turns.last_mut() {
                    Some(last) if last.results => last.blocks.push(result),
                    Some(_) | None => turns.push(Turn { results: true, ..Turn::of("user", vec![result]) }),
                }
            }
            "function" => return Err(place.key("role").refused(TO, "say it as `tool`")),
            _ => return Err(place.key("role").wrong("a role of chat completions")),
        }
        fields.settle(fates::CHAT_MESSAGE)?;
    }
    let written = turns.into_iter().map(|turn| {
        let out = Obj::new().str("role", turn.role);
        out.raw("content", &turn.content()).end()
    });
    Ok(Said { messages: list(&written.collect::<Vec<_>>()), system: joined(system) })
}

/// The system's words before anything else was said.
fn joined(mut system: Vec<Turn<'_>>) -> Option<String> {
    match system.len() {
        0 => None,
        1 => system.pop().map(Turn::content),
        _ => Some(list(&system.into_iter().flat_map(Turn::into_blocks).collect::<Vec<_>>())),
    }
}

fn texts<'a>(role: &'static str, fields: &mut Fields<'a, '_>) -> Result<Turn<'a>, Untranslatable> {
    let place = fields.place.key("content");
    match read::content(fields.need("content")?, &place)? {
        Content::Text(text) => Ok(Turn::plain(role, text)),
        Content::Blocks(parts) => Ok(Turn::of(role, text_parts(parts, &place)?)),
    }
}

fn text_parts(parts: Vec<&RawValue>, place: &Place<'_>) -> Result<Vec<String>, Untranslatable> {
    let part = |(index, raw): (usize, &RawValue)| {
        let place = place.item(index);
        let mut fields = Fields::of(raw, &place, TO)?;
        if fields.need_word("type")? != "text" {
            return Err(place.key("type").refused(TO, "only text can stand here"));
        }
        text(fields)
    };
    parts.into_iter().enumerate().map(part).collect()
}

fn text(mut fields: Fields<'_, '_>) -> Result<String, Untranslatable> {
    let text = fields.need_text("text")?;
    fields.settle(fates::PART)?;
    Ok(text_block(text))
}

fn user<'a>(fields: &mut Fields<'a, '_>) -> Result<Turn<'a>, Untranslatable> {
    let place = fields.place.key("content");
    let parts = match read::content(fields.need("content")?, &place)? {
        Content::Text(text) => return Ok(Turn::plain("user", text)),
        Content::Blocks(parts) => parts,
    };
    let mut blocks = Vec::new();
    for (index, raw) in parts.into_iter().enumerate() {
        let place = place.item(index);
        let mut fields = Fields::of(raw, &place, TO)?;
        match fields.need_word("type")?.as_str() {
            "text" => blocks.push(text(fields)?),
            "image_url" => blocks.push(image(fields)?),
            _ => return Err(place.key("type").refused(TO, "users say text and images there")),
        }
    }
    Ok(Turn::of("user", blocks))
}

fn image(mut fields: Fields<'_, '_>) -> Result<String, Untranslatable> {
    let place = fields.place.key("image_url");
    let mut image = Fields::of(fields.need("image_url")?, &place, TO)?;
    fields.settle(fates::PART)?;
    let detail = image.word("detail")?;
    if detail.is_some_and(|detail| detail != "auto" && detail != "high") {
        return Err(place.key("detail").refused(TO, "images are always seen as they are"));
    }
    let url = image.need_word("url")?;
    image.settle(fates::NOTHING)?;
    let source = match url.strip_prefix("data:") {
        None => Obj::new().str("type", "url").str("url", &url),
        Some(data) => {
            let place = place.key("url");
            let parted = data.split_once(";base64,");
            let (kind, data) = parted.ok_or_else(|| place.refused(TO, "images are in base64 there"))?;
            if !IMAGES.contains(&kind) {
                return Err(place.refused(TO, "images are JPEG, PNG, GIF or WebP there"));
            }
            Obj::new().str("type", "base64").str("media_type", kind).str("data", data)
        }
    };
    Ok(Obj::new().str("type", "image").raw("source", &source.end()).end())
}

fn result(fields: &mut Fields<'_, '_>) -> Result<String, Untranslatable> {
    let call = fields.need_text("tool_call_id")?;
    let content = texts("user", fields)?.content();
    Ok(Obj::new().str("type", "tool_result").text("tool_use_id", call).raw("content", &content).end())
}

fn assistant<'a>(fields: &mut Fields<'a, '_>) -> Result<Turn<'a>, Untranslatable> {
    let place = fields.place.key("content");
    let said = match fields.take("content") {
        None => Turn::of("assistant", Vec::new()),
        Some(raw) => match read::content(raw, &place)? {
            Content::Text(text) => Turn::plain("assistant", text),
            Content::Blocks(parts) => Turn::of("assistant", text_parts(parts, &place)?),
        },
    };
    let calls = fields.list("tool_calls")?.unwrap_or_default();
    if calls.is_empty() {
        return Ok(said);
    }
    // An empty text cannot stand as a block of its own.
    let mut blocks =
        if said.plain.is_some_and(|text| text.inner().is_empty()) { Vec::new() } else { said.into_blocks() };
    let place = fields.place.key("tool_calls");
    for (index, raw) in calls.into_iter().enumerate() {
        blocks.push(call(raw, &place.item(index))?);
    }
    Ok(Turn::of("assistant", blocks))
}

/// The input is what the arguments say, byte for byte.
fn call(raw: &RawValue, place: &Place<'_>) -> Result<String, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    if fields.need_word("type")? != "function" {
        return Err(place.key("type").refused(TO, "only functions are known there"));
    }
    let id = fields.need_text("id")?;
    let place = place.key("function");
    let mut function = Fields::of(fields.need("function")?, &place, TO)?;
    fields.settle(fates::NOTHING)?;
    let name = function.need_text("name")?;
    let arguments = function.need_word("arguments")?;
    let input = as_object(&arguments).ok_or_else(|| place.key("arguments").wrong("a JSON object"))?;
    function.settle(fates::NOTHING)?;
    Ok(Obj::new().str("type", "tool_use").text("id", id).text("name", name).raw("input", input).end())
}

/// The arguments of a call; none at all are those of a function that takes nothing.
pub(in crate::translate) fn as_object(arguments: &str) -> Option<&str> {
    if arguments.trim().is_empty() {
        return Some("{}");
    }
    let raw: &RawValue = serde_json::from_str(arguments).ok()?;
    raw.get().starts_with('{').then(|| raw.get())
}
