//! A request for a chat completion as one for messages.

mod tools;
pub(super) mod turns;

use serde_json::value::RawValue;

use super::{
    Answers, Translated, fates,
    read::{self, Api, Content, Fields, Place, Text, Untranslatable},
    write::{Obj, list},
};

const TO: Api = Api::Messages;

/// How much an answer may have where the asker does not say: Anthropic has to be told.
pub const MOST_TOKENS: &str = "8192";

/// The efforts that both know by the same names.
pub(super) const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

pub(super) fn request(body: &[u8]) -> Result<Translated, Untranslatable> {
    let root = Place::Root;
    let mut fields = Fields::of(read::body(body)?, &root, TO)?;
    let model = fields.need_text("model")?;
    let most = most_tokens(&mut fields)?;
    let said = turns::all(fields.need("messages")?, &root.key("messages"))?;
    let temperature = fields.number("temperature")?;
    if temperature.is_some_and(|number| number.parse::<f64>().is_ok_and(|number| number > 1.0)) {
        return Err(root.key("temperature").refused(TO, "it is 0 to 1 there"));
    }
    let top_p = fields.number("top_p")?;
    let stops = stops(&mut fields)?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let options = fields.take("stream_options").map(|raw| options(raw, &root.key("stream_options")));
    let include_usage = options.transpose()?.unwrap_or(false);
    let user = user(&mut fields)?.map(|user| Obj::new().text("user_id", user).end());
    let effort = effort(&mut fields)?;
    let format = fields.take("response_format").map(|raw| format(raw, &root.key("response_format")));
    let format = format.transpose()?.flatten();
    let tools = fields.each("tools", tools::tool)?;
    let tools = (!tools.is_empty()).then(|| list(&tools));
    let choice = tools::choice(&mut fields, tools.is_some())?;
    fields.settle(fates::CHAT)?;

    let mut out = Obj::new().text("model", model).raw("max_tokens", most);
    out = out.some("system", said.system.as_deref()).raw("messages", &said.messages);
    out = out.some("temperature", temperature).some("top_p", top_p);
    out = out.some("stop_sequences", stops.as_deref()).some("metadata", user.as_deref());
    out = out.some("tools", tools.as_deref()).some("tool_choice", choice.as_deref());
    if effort.as_deref() == Some("none") {
        out = out.raw("thinking", r#"{"type":"disabled"}"#);
    }
    let effort = effort.filter(|effort| effort != "none");
    if effort.is_some() || format.is_some() {
        let mut config = Obj::new();
        if let Some(effort) = effort {
            config = config.str("effort", &effort);
        }
        out = out.raw("output_config", &config.some("format", format.as_deref()).end());
    }
    if stream {
        out = out.raw("stream", "true");
    }
    let answers = Answers { asker: Api::Chat, stream, include_usage, thinking: false };
    Ok(Translated { body: out.end(), answers })
}

fn most_tokens<'a>(fields: &mut Fields<'a, '_>) -> Result<&'a str, Untranslatable> {
    match (fields.number("max_completion_tokens")?, fields.number("max_tokens")?) {
        (Some(new), Some(old)) if new != old => {
            let place = fields.place.key("max_tokens");
            Err(place.refused(TO, "`max_completion_tokens` says another number"))
        }
        (Some(most), _) | (None, Some(most)) => Ok(most),
        (None, None) => Ok(MOST_TOKENS),
    }
}

fn stops(fields: &mut Fields<'_, '_>) -> Result<Option<String>, Untranslatable> {
    let Some(raw) = fields.take("stop") else { return Ok(None) };
    match read::content(raw, &fields.place.key("stop"))? {
        Content::Text(text) => Ok(Some(list(&[text.0]))),
        Content::Blocks(stops) => {
            let stops: Vec<&str> = stops.iter().map(|stop| stop.get()).collect();
            Ok((!stops.is_empty()).then(|| list(&stops)))
        }
    }
}

fn options(raw: &RawValue, place: &Place<'_>) -> Result<bool, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    let include = fields.flag("include_usage")?.unwrap_or(false);
    fields.settle(fates::STREAM_OPTIONS)?;
    Ok(include)
}

/// Who asks, by either of two names.
fn user<'a>(fields: &mut Fields<'a, '_>) -> Result<Option<Text<'a>>, Untranslatable> {
    match (fields.text("safety_identifier")?, fields.text("user")?) {
        (Some(new), Some(old)) if new.0 != old.0 => {
            Err(fields.place.key("user").refused(TO, "`safety_identifier` names another"))
        }
        (new, old) => Ok(new.or(old)),
    }
}

fn effort(fields: &mut Fields<'_, '_>) -> Result<Option<String>, Untranslatable> {
    let effort = fields.word("reasoning_effort")?;
    match effort {
        Some(effort) if effort != "none" && !EFFORTS.contains(&effort.as_str()) => {
            let place = fields.place.key("reasoning_effort");
            Err(place.refused(TO, "it is none, low, medium, high, xhigh or max there"))
        }
        effort => Ok(effort),
    }
}

fn format(raw: &RawValue, place: &Place<'_>) -> Result<Option<String>, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    let kind = fields.need_word("type")?;
    let said = match kind.as_str() {
        "text" => None,
        "json_schema" => {
            let place = place.key("json_schema");
            let mut inner = Fields::of(fields.need("json_schema")?, &place, TO)?;
            let schema = inner.need_object("schema")?;
            inner.settle(fates::JSON_SCHEMA)?;
            Some(Obj::new().str("type", "json_schema").raw("schema", schema).end())
        }
        "json_object" => {
            return Err(place.key("type").refused(TO, "JSON has a schema there; use `json_schema`"));
        }
        _ => return Err(place.key("type").refused(TO, "there is no such format")),
    };
    fields.settle(fates::NOTHING)?;
    Ok(said)
}
