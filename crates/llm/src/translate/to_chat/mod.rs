//! A request for messages as one for a chat completion.

mod tools;
mod turns;

use serde_json::value::RawValue;

use super::{
    Answers, Translated, fates,
    read::{self, Api, Content, Fields, Place, Untranslatable},
    write::{Obj, list, quoted},
};

const TO: Api = Api::Chat;

/// How much thinking a budget of so many tokens is, where no effort is named.
const BUDGETS: [(f64, &str); 2] = [(4096.0, "low"), (16384.0, "medium")];

pub(super) fn request(
    body: &[u8],
    most_tokens: &'static str,
    asks_usage: bool,
) -> Result<Translated, Untranslatable> {
    let root = Place::Root;
    let mut fields = Fields::of(read::body(body)?, &root, TO)?;
    let model = fields.need_text("model")?;
    let most = fields.number("max_tokens")?;
    let most = most.ok_or_else(|| Untranslatable::Missing("max_tokens".to_owned()))?;
    if most == "0" {
        return Err(root
            .key("max_tokens")
            .refused(TO, "an answer of no tokens only fills Anthropic's cache"));
    }
    let mut messages = Vec::new();
    if let Some(raw) = fields.take("system") {
        turns::system(raw, &root.key("system"), &mut messages)?;
    }
    turns::all(fields.need("messages")?, &root.key("messages"), &mut messages)?;
    let user = fields.take("metadata").map(|raw| user(raw, &root.key("metadata"))).transpose()?.flatten();
    let thinking = fields.take("thinking").map(|raw| thinking(raw, &root.key("thinking"))).transpose()?;
    let thinking = thinking.unwrap_or_default();
    let output = fields.take("output_config");
    let output = output.map(|raw| output_config(raw, &root.key("output_config"))).transpose()?;
    let output = output.unwrap_or_default();
    let stops = fields.list("stop_sequences")?.filter(|stops| !stops.is_empty());
    let stops = stops.map(|stops| list(&stops.iter().map(|stop| stop.get()).collect::<Vec<_>>()));
    let stream = fields.flag("stream")?.unwrap_or(false);
    let tools = fields.each("tools", tools::tool)?;
    let tools = (!tools.is_empty()).then(|| list(&tools));
    let choice = fields.take("tool_choice").map(|raw| tools::choice(raw, &root.key("tool_choice")));
    let choice = choice.transpose()?.unwrap_or_default();
    if let Some(raw) = fields.take("context_management") {
        context_management(raw, &root.key("context_management"))?;
    }
    let (temperature, top_p) = (fields.number("temperature")?, fields.number("top_p")?);
    fields.settle(fates::MESSAGES)?;

    let mut out = Obj::new().text("model", model).raw("messages", &list(&messages)).raw(most_tokens, most);
    out = out.some("temperature", temperature).some("top_p", top_p).some("stop", stops.as_deref());
    out = out.some("tools", tools.as_deref()).some("tool_choice", choice.choice.as_deref());
    if choice.one_at_a_time && tools.is_some() {
        out = out.raw("parallel_tool_calls", "false");
    }
    let effort = output.effort.as_deref().or(thinking.effort);
    out = out.some("reasoning_effort", effort.map(quoted).as_deref());
    out = out.some("response_format", output.format.as_deref()).some("user", user.as_deref());
    if stream {
        out = out.raw("stream", "true");
        if asks_usage {
            out = out.raw("stream_options", r#"{"include_usage":true}"#);
        }
    }
    let answers = Answers { asker: Api::Messages, stream, include_usage: false, thinking: thinking.is_shown };
    Ok(Translated { body: out.end(), answers })
}

fn user(raw: &RawValue, place: &Place<'_>) -> Result<Option<String>, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    let user = fields.text("user_id")?.map(|user| user.0.to_owned());
    fields.settle(fates::NOTHING)?;
    Ok(user)
}

/// Which earlier thoughts are kept is settled already: none are sent. Everything else is Anthropic's to do.
fn context_management(raw: &RawValue, place: &Place<'_>) -> Result<(), Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    let edits = fields.list("edits")?.unwrap_or_default();
    fields.settle(fates::NOTHING)?;
    let place = place.key("edits");
    for (index, raw) in edits.into_iter().enumerate() {
        let place = place.item(index);
        let kind = Fields::of(raw, &place, TO)?.need_word("type")?;
        if !kind.starts_with("clear_thinking_") {
            return Err(place.key("type").refused(TO, "nobody edits a conversation there; leave it out"));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Thinking {
    effort: Option<&'static str>,
    is_shown: bool,
}

fn thinking(raw: &RawValue, place: &Place<'_>) -> Result<Thinking, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    let kind = fields.need_word("type")?;
    let is_shown = fields.word("display")?.is_none_or(|display| display != "omitted");
    let thinking = match kind.as_str() {
        "disabled" => Thinking { effort: None, is_shown: false },
        "adaptive" => Thinking { effort: None, is_shown },
        "enabled" => {
            let budget = fields.number("budget_tokens")?;
            let budget: Option<f64> = budget.and_then(|budget| budget.parse().ok());
            let budget = budget.ok_or_else(|| place.key("budget_tokens").wrong("a number"))?;
            let effort =
                BUDGETS.iter().find(|(most, _)| budget <= *most).map_or("high", |(_, effort)| effort);
            Thinking { effort: Some(effort), is_shown }
        }
        _ => return Err(place.key("type").refused(TO, "there is no such way to think; leave it out")),
    };
    fields.settle(fates::THINKING)?;
    Ok(thinking)
}

#[derive(Default)]
struct Output {
    effort: Option<String>,
    format: Option<String>,
}

fn output_config(raw: &RawValue, place: &Place<'_>) -> Result<Output, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    let effort = fields.word("effort")?;
    if effort.as_ref().is_some_and(|effort| !super::to_messages::EFFORTS.contains(&effort.as_str())) {
        return Err(place.key("effort").refused(TO, "there is no such effort"));
    }
    let format = fields.take("format").map(|raw| format(raw, &place.key("format"))).transpose()?;
    fields.settle(fates::NOTHING)?;
    Ok(Output { effort, format })
}

/// A schema has to have a name there; nobody is told it.
fn format(raw: &RawValue, place: &Place<'_>) -> Result<String, Untranslatable> {
    let mut fields = Fields::of(raw, place, TO)?;
    if fields.need_word("type")? != "json_schema" {
        return Err(place.key("type").refused(TO, "only `json_schema` is known"));
    }
    let schema = fields.need_object("schema")?;
    fields.settle(fates::NOTHING)?;
    let named = Obj::new().str("name", "answer").raw("schema", schema).raw("strict", "true").end();
    Ok(Obj::new().str("type", "json_schema").raw("json_schema", &named).end())
}
