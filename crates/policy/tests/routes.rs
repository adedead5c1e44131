//! LLM routes: how each provider is reached, where that leads, and which models may be named.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chiton_policy::{
    CompiledPolicy, Decision, Intent, Policy, Provider, Reason, RequestPermit, compile, decide, explain,
};

fn policy(routing: &str) -> CompiledPolicy {
    compile(&Policy::parse(&format!("dynamic: {{llm_routing: {routing}}}")).unwrap())
}

fn judge(policy: &CompiledPolicy, request: &str) -> Decision {
    decide(policy, &Intent::from_request_line(request).unwrap())
}

fn sent(permit: &RequestPermit) -> String {
    format!("{}://{}{}", permit.scheme(), permit.authority(), permit.path_and_query())
}

fn leads(policy: &CompiledPolicy, request: &str) -> String {
    match judge(policy, request) {
        Decision::Allow(permit) => sent(&permit),
        Decision::Deny(denial) => format!("{}", denial.reason()),
    }
}

#[test]
fn every_endpoint_of_the_table_is_reached_by_its_host_and_inside_and_leads_to_its_backend() {
    for provider in Provider::ALL {
        let facts = provider.facts();
        for url in [None, Some("https://other.test:8443/deep/v9")] {
            if provider.needs_base_url() && url.is_none() {
                continue;
            }
            let base = url.map(|url| format!(", base_url: '{url}'")).unwrap_or_default();
            let policy = policy(&format!("{{provider: {provider}{base}}}"));
            let own = facts.host.map(|host| format!("https://{host}{}", facts.base));
            let backend = url.or(facts.backend).map_or_else(|| own.clone().unwrap(), str::to_owned);
            let inside = ["llm.internal".to_owned(), format!("{provider}.llm.internal")];
            let inside = inside
                .iter()
                .flat_map(|host| [facts.base, facts.inner].map(|base| format!("https://{host}{base}")));
            for endpoint in facts.endpoints {
                let path = endpoint.path.replace("{model}", "some-model");
                for at in inside.clone().chain(own.clone()) {
                    let request = format!("{} {at}{path}?x=1", endpoint.method);
                    assert_eq!(leads(&policy, &request), format!("{backend}{path}?x=1"), "{request}");
                    // Nothing beside it.
                    for beside in [format!("{path}/more/still"), format!("/files{path}")] {
                        let request = format!("{} {at}{beside}", endpoint.method);
                        let reason = judge(&policy, &request).into_permit().unwrap_err().reason();
                        assert_eq!(reason, Reason::PathNotAllowed, "{request}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_backend_of_its_own_is_reached_by_its_own_name() {
    let one = policy("{provider: openai-compatible, base_url: 'https://llm.corp.test/api/v3/'}");
    assert_eq!(
        leads(&one, "POST https://llm.corp.test/api/v3/chat/completions"),
        "https://llm.corp.test/api/v3/chat/completions"
    );
    assert_eq!(leads(&one, "POST https://llm.corp.test/v1/chat/completions"), "path_not_allowed");
    // Where it is not on the usual port, its name is no way in.
    let two = policy("{provider: openai-compatible, base_url: 'https://llm.corp.test:8443/v1'}");
    assert_eq!(leads(&two, "POST https://llm.corp.test/v1/chat/completions"), "host_not_allowed");
    assert_eq!(
        leads(&two, "POST https://llm.internal/v1/chat/completions"),
        "https://llm.corp.test:8443/v1/chat/completions"
    );
    // A provider that has a host keeps it, and the backend's is none.
    let three = policy("{provider: openai, base_url: 'https://llm.corp.test/v1'}");
    assert_eq!(
        leads(&three, "POST https://api.openai.com/v1/responses"),
        "https://llm.corp.test/v1/responses"
    );
    assert_eq!(leads(&three, "POST https://llm.corp.test/v1/responses"), "host_not_allowed");
}

#[test]
fn of_several_routes_the_first_with_the_endpoint_is_taken() {
    let routes = policy("[{provider: anthropic}, {provider: groq}, {provider: openai}, {provider: google}]");
    for (request, wanted) in [
        ("POST https://llm.internal/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("POST https://llm.internal/v1/chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
        ("POST https://llm.internal/v1/embeddings", "https://api.openai.com/v1/embeddings"),
        (
            "POST https://openai.llm.internal/v1/chat/completions",
            "https://api.openai.com/v1/chat/completions",
        ),
        (
            "POST https://google.llm.internal/v1beta/models/g:countTokens",
            "https://generativelanguage.googleapis.com/v1beta/models/g:countTokens",
        ),
        ("POST https://openai.llm.internal/v1/messages", "path_not_allowed"),
        ("POST https://mistral.llm.internal/v1/chat/completions", "host_not_allowed"),
    ] {
        assert_eq!(leads(&routes, request), wanted, "{request}");
    }
}

#[test]
fn a_model_in_the_path_is_judged_by_the_name_that_is_sent() {
    let routes = policy(
        "{provider: google, models: ['gemini-*', 'tuned/x'], model_alias: {fast: gemini-9, bad: other, odd: 'tuned/x'}}",
    );
    let call = |model: &str| {
        format!("POST https://generativelanguage.googleapis.com/v1beta/models/{model}:generateContent")
    };
    let at = "https://generativelanguage.googleapis.com/v1beta/models";
    for (model, wanted) in [
        ("gemini-9", format!("{at}/gemini-9:generateContent")),
        ("fast", format!("{at}/gemini-9:generateContent")),
        ("f%61st", format!("{at}/gemini-9:generateContent")),
        ("bad", "model_not_allowed".to_owned()),
        ("other", "model_not_allowed".to_owned()),
        ("gemini-9:countTokens", "path_not_allowed".to_owned()),
        ("gemini-9%3AcountTokens", "path_not_allowed".to_owned()),
        // What no path can carry in one reading.
        ("odd", "ambiguous_request".to_owned()),
    ] {
        assert_eq!(leads(&routes, &call(model)), wanted, "{model}");
    }
    let intent = Intent::from_request_line(&call("other")).unwrap();
    let told = explain(&routes, &intent).to_string();
    assert!(told.contains("does not have `other` in its `models`"), "{told}");
}

#[test]
fn a_model_of_bedrock_is_read_however_its_colon_is_written() {
    let host = "https://bedrock-runtime.eu-central-1.amazonaws.com";
    let routes = policy(&format!(
        "{{provider: bedrock, base_url: '{host}', models: ['eu.anthropic.*:0'], model_alias: {{fast: 'eu.anthropic.x:0'}}}}"
    ));
    for (model, wanted) in [
        ("eu.anthropic.x%3A0", Ok("eu.anthropic.x%3A0")),
        ("eu.anthropic.x%3a0", Ok("eu.anthropic.x%3A0")),
        ("eu.anthropic.x:0", Ok("eu.anthropic.x:0")),
        ("fast", Ok("eu.anthropic.x%3A0")),
        ("meta.llama%3A0", Err("model_not_allowed")),
        // A name with a slash has two readings.
        ("arn%3Aaws%3Abedrock%3Aeu%3A1%3Ainference-profile%2Feu.anthropic.x%3A0", Err("ambiguous_request")),
        ("a/b", Err("path_not_allowed")),
    ] {
        for end in ["converse", "converse-stream", "invoke", "invoke-with-response-stream", "count-tokens"] {
            for at in [host, "https://bedrock.llm.internal", "https://llm.internal"] {
                let asked = format!("POST {at}/model/{model}/{end}");
                let wanted = wanted.map(|model| format!("{host}/model/{model}/{end}"));
                assert_eq!(leads(&routes, &asked), wanted.unwrap_or_else(str::to_owned), "{asked}");
            }
        }
    }
    assert_eq!(leads(&routes, &format!("POST {host}/guardrail/x/version/1/apply")), "path_not_allowed");
    let parsed = Policy::parse("dynamic: {llm_routing: {provider: bedrock}}").unwrap_err().to_string();
    assert!(parsed.contains("provider `bedrock` has no address of its own: name its `base_url`"), "{parsed}");
}

#[test]
fn a_deny_holds_for_the_path_that_is_sent() {
    let policy = compile(
        &Policy::parse(
            "dynamic: {llm_routing: {provider: openai, base_url: 'https://llm.corp.test/deep'},\n\
             network: {http: [{host: llm.corp.test, deny: [{paths: [/deep/responses]}]},\n\
             {host: api.openai.com, deny: [{paths: [/v1/embeddings]}]}]}}",
        )
        .unwrap(),
    );
    let at = |path: &str| leads(&policy, &format!("POST https://api.openai.com/v1{path}"));
    assert_eq!(at("/responses"), "denied_by_rule");
    assert_eq!(at("/embeddings"), "denied_by_rule");
    assert_eq!(at("/chat/completions"), "https://llm.corp.test/deep/chat/completions");
}

#[test]
fn what_is_not_there_yet_is_named_with_its_place() {
    let parsed = Policy::parse(
        "dynamic: {llm_routing: [{provider: openai}, {provider: anthropic},\n\
         {provider: groq, fallback: [{provider: openai}, {provider: anthropic}, {provider: google},\n\
         {provider: bedrock, base_url: 'https://a.test'}]}]}",
    )
    .unwrap();
    let unsupported: Vec<String> =
        chiton_policy::unsupported(&parsed).iter().map(|what| what.field().to_owned()).collect();
    assert_eq!(
        unsupported,
        [
            "dynamic.llm_routing[2].fallback[2].provider: google after `groq`, which has other calls",
            "dynamic.llm_routing[2].fallback[3].provider: bedrock after `groq`, which has other calls",
        ]
    );
}

#[test]
fn a_backend_of_another_api_gets_conversations_at_its_own_place_and_nothing_else() {
    let messages = policy("{provider: anthropic, backend: openai, inject_backend_credential: 'local://o'}");
    let asked = "POST https://api.anthropic.com/v1/messages?beta=true";
    for asked in [asked, "POST https://llm.internal/v1/messages?beta=true"] {
        assert_eq!(leads(&messages, asked), "https://api.openai.com/v1/chat/completions?beta=true");
    }
    let permit = judge(&messages, asked).into_permit().unwrap();
    let grant = permit.llm().unwrap();
    assert_eq!((grant.provider(), grant.facts().key_header), (Provider::Anthropic, "x-api-key"));
    assert_eq!(grant.backend_facts().key_header, "authorization");
    assert_eq!(grant.translated().unwrap().path, "/chat/completions");
    for closed in
        ["POST https://api.anthropic.com/v1/messages/count_tokens", "GET https://api.anthropic.com/v1/models"]
    {
        let reason = judge(&messages, closed).into_permit().unwrap_err().reason();
        assert!([Reason::PathNotAllowed, Reason::MethodNotAllowed].contains(&reason), "{closed}");
    }
    assert_eq!(leads(&messages, "POST https://api.openai.com/v1/chat/completions"), "host_not_allowed");

    // Where the asked provider has no host, the backend's own is no way in.
    let chat = policy("{provider: openai-compatible, backend: anthropic}");
    assert_eq!(
        leads(&chat, "POST https://llm.internal/v1/chat/completions"),
        "https://api.anthropic.com/v1/messages"
    );
    assert_eq!(leads(&chat, "POST https://llm.internal/v1/embeddings"), "path_not_allowed");
    assert_eq!(leads(&chat, "POST https://api.anthropic.com/v1/messages"), "host_not_allowed");
    let own = policy(
        "{provider: anthropic, backend: openai-compatible, base_url: 'https://llm.corp.test/team/v1'}",
    );
    assert_eq!(leads(&own, asked), "https://llm.corp.test/team/v1/chat/completions?beta=true");
    // Its own API is none to translate.
    let same = policy("{provider: openai, backend: openai}");
    let permit = judge(&same, "POST https://api.openai.com/v1/responses").into_permit().unwrap();
    assert!(permit.llm().unwrap().translated().is_none());
    // A fallback may be of another API behind.
    let after = policy("{provider: openai, fallback: [{provider: openai, backend: anthropic}]}");
    let permit = judge(&after, "POST https://api.openai.com/v1/chat/completions").into_permit().unwrap();
    assert_eq!(
        permit.fallbacks().iter().map(sent).collect::<Vec<_>>(),
        ["https://api.anthropic.com/v1/messages"]
    );
    let other = judge(&after, "POST https://api.openai.com/v1/embeddings").into_permit().unwrap();
    assert!(other.fallbacks().is_empty());
}

#[test]
fn a_deny_of_the_place_behind_holds_for_what_is_translated() {
    let rules = "dynamic: {llm_routing: {provider: anthropic, backend: openai},\n\
                 network: {http: [{host: api.openai.com, deny: [{paths: [/v1/chat/completions]}]}]}}";
    let policy = compile(&Policy::parse(rules).unwrap());
    assert_eq!(leads(&policy, "POST https://api.anthropic.com/v1/messages"), "denied_by_rule");
}

#[test]
fn other_pairs_of_apis_are_an_error_at_its_place() {
    for (routing, wanted) in [
        ("{provider: openai, backend: groq}", "calls of `openai` are not translated for a backend of `groq`"),
        (
            "{provider: google, backend: openai}",
            "calls of `google` are not translated for a backend of `openai`",
        ),
        ("{provider: anthropic, backend: google}", "calls of `anthropic` are not translated"),
        ("{provider: anthropic, backend: bedrock}", "calls of `anthropic` are not translated"),
        ("{provider: anthropic, backend: openai-compatible}", "name its `base_url`"),
        ("{provider: anthropic, backend: opnai}", "`backend` cannot be `opnai`"),
    ] {
        let error = Policy::parse(&format!("dynamic: {{llm_routing: {routing}}}")).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    assert!(
        Policy::parse("dynamic: {llm_routing: {provider: openai-compatible, backend: anthropic}}").is_ok()
    );
}
