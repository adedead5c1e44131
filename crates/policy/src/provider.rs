//! The providers of LLM routes, as data: hosts, inference endpoints, where a key goes, where model and usage stand.

mod conversation;
mod dialect;
mod spends;
mod table;

pub use conversation::{Conversation, Words};
pub use dialect::{CallersTools, Dialect};
pub use spends::{Place, Spends, Writes};

use crate::{names::Host, patterns::PathPattern, percent};

/// Whose API a route speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// `openai`
    OpenAi,
    /// `anthropic`
    Anthropic,
    /// `google`
    Google,
    /// `azure-openai`
    AzureOpenAi,
    /// `bedrock`
    Bedrock,
    /// `openrouter`
    OpenRouter,
    /// `mistral`
    Mistral,
    /// `groq`
    Groq,
    /// `ollama`
    Ollama,
    /// `openai-compatible`
    OpenAiCompatible,
}

/// What is known of a provider that routes can use.
#[derive(Debug)]
pub struct ProviderFacts {
    /// The host that programs call, and that a route without `base_url` calls; none where every customer has another.
    pub host: Option<&'static str>,
    /// What a `base_url` stands for: the beginning of every path at that host.
    pub base: &'static str,
    /// The same at our own names, where the other works too.
    pub inner: &'static str,
    /// The base URL of a route that names none, where it is not the host's.
    pub backend: Option<&'static str>,
    /// The environment variable in which programs look for a key.
    pub key_variable: Option<&'static str>,
    /// The header in which a key goes, in lower case.
    pub key_header: &'static str,
    /// What stands before the key in that header.
    pub key_prefix: &'static str,
    /// What a key of Amazon's signs for, where one does: any other goes in the header.
    pub key_signs: Option<&'static Signs>,
    /// The parameter of the query in which callers may send one instead.
    pub key_parameter: Option<&'static str>,
    /// The type of a body that does not say its own, where the provider has one.
    pub body_type: Option<&'static str>,
    /// How it is spoken.
    pub dialect: &'static Dialect,
    /// Keys of a body that name further models, alone or in a list.
    pub more_models: &'static [&'static str],
    /// Keys of a body that stand for models which cannot be told from it.
    pub hidden_models: &'static [&'static str],
    /// How conversations are held, where what is said can be put into another API's words.
    pub conversation: Option<Conversation>,
    /// What a route opens.
    pub endpoints: &'static [Endpoint],
}

impl ProviderFacts {
    /// The endpoint of conversations.
    pub(crate) fn conversation_endpoint(&self) -> Option<&'static Endpoint> {
        let path = self.conversation?.path;
        self.endpoints.iter().find(|endpoint| endpoint.calls_model() && endpoint.path == path)
    }

    /// The calls of models, by their paths inside.
    fn calls(&self) -> impl Iterator<Item = String> {
        let calls = self.endpoints.iter().filter(|endpoint| endpoint.calls_model());
        calls.map(|endpoint| format!("{}{}", self.inner, endpoint.path))
    }
}

/// What a key of Amazon's signs for.
#[derive(Debug, PartialEq, Eq)]
pub struct Signs {
    /// The service, as it is signed.
    pub service: &'static str,
    /// The same as hosts name it, before the region.
    pub host: &'static str,
}

impl Signs {
    /// The region that one of Amazon's hosts names: `HOST.REGION.amazonaws.com` and its kin (`HOST-fips`, endpoints of
    /// one's own network). None where it names none, as that of a gateway.
    #[must_use]
    pub fn region_of<'a>(&self, host: &'a Host) -> Option<&'a str> {
        let mut labels = host.name()?.split('.');
        let named = |label: &str| {
            label.strip_prefix(self.host).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        labels.find(|label| named(label))?;
        let region = labels.next()?;
        let rest: Vec<&str> = labels.collect();
        let rest = rest.strip_prefix(&["vpce"]).unwrap_or(&rest);
        const AMAZONS: [&[&str]; 4] =
            [&["amazonaws", "com"], &["amazonaws", "com", "cn"], &["amazonaws", "eu"], &["api", "aws"]];
        AMAZONS.contains(&rest).then_some(region)
    }
}

/// One inference endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its method; HEAD goes with GET.
    pub method: &'static str,
    /// Its path after the base, as a path pattern; `{model}` stands where the model does.
    pub path: &'static str,
    /// Whether the usage of a stream is told only when it is asked for.
    pub asks_usage: bool,
    /// What a call costs at most.
    pub spends: Spends,
}

impl Endpoint {
    /// Whether it takes a body that is a call of a model.
    #[must_use]
    pub fn calls_model(&self) -> bool {
        self.method == "POST"
    }

    /// Whether the model stands in the path.
    #[must_use]
    pub fn model_in_path(&self) -> bool {
        self.path.contains(MODEL)
    }

    pub(crate) fn pattern(&self) -> Option<PathPattern> {
        PathPattern::parse(&self.path.replace(MODEL, "*")).ok()
    }

    /// The model that a canonical path of this endpoint names, decoded; none where it can be read in two ways.
    pub(crate) fn model_of(&self, path: &str) -> Option<String> {
        let (before, after) = self.path.split_once(MODEL)?;
        let model = path.strip_prefix(before)?.strip_suffix(after)?;
        let model = String::from_utf8(percent::decode(model.as_bytes())).ok()?;
        let verb_twice = after.starts_with(':') && model.contains(':');
        (!model.is_empty() && !model.contains('/') && !verb_twice).then_some(model)
    }

    /// Its path with this model.
    pub(crate) fn path_with(&self, model: &str) -> String {
        self.path.replace(MODEL, &percent::encode(model))
    }
}

const MODEL: &str = "{model}";

impl Provider {
    /// Every provider, in the order in which help and errors list them.
    pub const ALL: [Provider; 10] = [
        Provider::OpenAi,
        Provider::Anthropic,
        Provider::Google,
        Provider::AzureOpenAi,
        Provider::Bedrock,
        Provider::OpenRouter,
        Provider::Mistral,
        Provider::Groq,
        Provider::Ollama,
        Provider::OpenAiCompatible,
    ];

    /// As written in a policy, and before `.llm.internal`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Provider::OpenAi => "openai",
            Provider::Anthropic => "anthropic",
            Provider::Google => "google",
            Provider::AzureOpenAi => "azure-openai",
            Provider::Bedrock => "bedrock",
            Provider::OpenRouter => "openrouter",
            Provider::Mistral => "mistral",
            Provider::Groq => "groq",
            Provider::Ollama => "ollama",
            Provider::OpenAiCompatible => "openai-compatible",
        }
    }

    /// What is known of it.
    #[must_use]
    pub fn facts(self) -> &'static ProviderFacts {
        table::of(self)
    }

    /// Whether a call of this one can be sent to another as it is: both have its path inside.
    pub(crate) fn shares_calls_with(self, other: Self) -> bool {
        self.facts().calls().any(|call| other.facts().calls().any(|its| its == call))
    }

    /// Whether a route to it must say where its backend is.
    #[must_use]
    pub fn needs_base_url(self) -> bool {
        self.facts().host.is_none() && self.facts().backend.is_none()
    }
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BaseUrl;

    #[test]
    fn the_table_holds_together() {
        for provider in Provider::ALL {
            let facts = provider.facts();
            assert!(facts.endpoints.iter().all(|endpoint| endpoint.pattern().is_some()), "{provider}");
            assert!(facts.endpoints.iter().all(|endpoint| endpoint.path.starts_with('/')), "{provider}");
            assert!(facts.backend.is_none_or(|url| url.parse::<BaseUrl>().is_ok()), "{provider}");
            for base in [facts.base, facts.inner] {
                assert!(base.is_empty() || base.starts_with('/') && !base.ends_with('/'), "{provider}");
            }
            assert_eq!(facts.key_header, facts.key_header.to_ascii_lowercase());
            assert_eq!(facts.conversation.is_some(), facts.conversation_endpoint().is_some(), "{provider}");
            assert!(facts.conversation_endpoint().is_none_or(|endpoint| !endpoint.model_in_path()));
        }
    }

    #[test]
    fn amazons_hosts_name_their_region() {
        let signs = Provider::Bedrock.facts().key_signs.unwrap();
        for (host, region) in [
            ("bedrock-runtime.eu-central-1.amazonaws.com", Some("eu-central-1")),
            ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("bedrock-runtime.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("bedrock-runtime.eu-west-1.api.aws", Some("eu-west-1")),
            ("vpce-0a-b.bedrock-runtime.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
            ("bedrock-runtime.corp.test", None),
            ("bedrock-runtime.eu-central-1.amazonaws.com.corp.test", None),
            ("s3.eu-central-1.amazonaws.com", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(signs.region_of(&Host::parse(host).unwrap()), region, "{host}");
        }
    }

    #[test]
    fn a_model_in_a_path_is_read_and_written() {
        let endpoint = Endpoint {
            method: "POST",
            path: "/v1beta/models/{model}:go",
            asks_usage: false,
            spends: Spends::Reads,
        };
        assert_eq!(endpoint.model_of("/v1beta/models/gemini-9%20x:go").unwrap(), "gemini-9 x");
        assert_eq!(endpoint.path_with("a/b:c"), "/v1beta/models/a%2Fb%3Ac:go");
        for path in ["/v1beta/models/:go", "/v1beta/models/a:stop:go", "/v1beta/models/a%3Astop:go"] {
            assert_eq!(endpoint.model_of(path), None, "{path}");
        }
    }
}
