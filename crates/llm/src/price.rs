//! What models cost: a table that comes with the program, dated, and what the operator says instead.
//!
//! Money is counted in millionths of a millionth of a dollar, so that one token at a price of six decimals is a whole
//! number. Nothing is rounded, and what does not fit is the largest amount there is: it is over every limit.

use std::{collections::BTreeMap, sync::LazyLock};

use chiton_policy::{Provider, TextGlob};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::Usage;

/// A price: millionths of a dollar for a million tokens, which is millionths of a millionth for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMillion(u64);

/// An amount of money, in millionths of a millionth of a dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(pub u64);

/// What one model costs, in dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Read.
    pub input: PerMillion,
    /// Written.
    pub output: PerMillion,
    /// Read out of a cache; as what is read, where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<PerMillion>,
    /// Put into a cache; as what is read, where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<PerMillion>,
    /// Put there for a long time; as for a short one, where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_long: Option<PerMillion>,
    /// A call that reads more tokens than this has the prices that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<u64>,
    /// Read, then, out of a cache or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_over: Option<PerMillion>,
    /// Written, then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_over: Option<PerMillion>,
    /// How many tokens the model can read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// How many it can write in one answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
}

/// Prices by `PROVIDER/MODEL`, where the model is a glob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PriceRows(BTreeMap<String, Price>);

/// Why a row is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no model: expected PROVIDER/MODEL, as \"openai/gpt-5*\", with a provider that a policy can name"
)]
pub struct BadName(String);

/// Every price that is known: the operator's, which are here, then ours.
#[derive(Clone, Debug)]
pub struct Prices(Vec<Row>);

#[derive(Clone, Debug)]
struct Row {
    provider: Provider,
    model: String,
    glob: TextGlob,
    price: Price,
}

const BUILT_IN: &str = include_str!("prices.toml");

impl PerMillion {
    /// Of a decimal number of dollars, with at most six decimals.
    fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || part.len() > 6 || !digits(whole) || !digits(part) {
            return None;
        }
        let micros = format!("{whole}{part:0<6}").parse().ok()?;
        // More than a dollar for a token is a mistake.
        (micros <= 1_000_000_000_000).then_some(Self(micros))
    }

    fn of(self, tokens: u64) -> Cost {
        Cost(self.0.saturating_mul(tokens))
    }
}

impl Cost {
    /// Both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Price {
    /// What a call cost. Of what it read, some may have come out of a cache, and some gone into one.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> Cost {
        let read = usage.input_tokens.unwrap_or(0);
        let tier = self.tier(read);
        let cached = usage.cached_tokens.unwrap_or(0).min(read);
        let stored = usage.stored_tokens.unwrap_or(0).min(read - cached);
        let long = usage.stored_long_tokens.unwrap_or(0).min(stored);
        let parts = [
            tier.input.of(read - cached - stored),
            tier.cached.of(cached),
            tier.stored.of(stored - long),
            tier.stored_long.of(long),
            tier.output.of(usage.output_tokens.unwrap_or(0)),
        ];
        parts.into_iter().fold(Cost::default(), Cost::plus)
    }

    /// The most that a call costs which reads and writes so much at most, whatever of it is cached.
    #[must_use]
    pub fn most(&self, input: u64, output: u64) -> Cost {
        let dearest = |tier: Tier| {
            let read = [tier.input, tier.cached, tier.stored, tier.stored_long].into_iter().max();
            read.unwrap_or(tier.input).of(input).plus(tier.output.of(output))
        };
        // Of less than may be read the price may be the higher one.
        dearest(self.tier(0)).max(dearest(self.tier(input)))
    }

    fn tier(&self, read: u64) -> Tier {
        let (input, output) = (self.input, self.output);
        let stored = self.cache_write.unwrap_or(input);
        let stored_long = self.cache_write_long.unwrap_or(stored);
        if self.over.is_some_and(|over| read > over) {
            let over = self.input_over.unwrap_or(input);
            let output = self.output_over.unwrap_or(output);
            let (stored, stored_long) = (stored.max(over), stored_long.max(over));
            return Tier { input: over, cached: over, stored, stored_long, output };
        }
        Tier { input, cached: self.cached.unwrap_or(input), stored, stored_long, output }
    }

    /// In each figure the dearer of the two: for a call of which it is not known who answers it.
    #[must_use]
    pub fn dearest(&self, other: &Self) -> Self {
        let (a, b) = (self.tier(0), other.tier(0));
        let (over_a, over_b) = (self.tier(u64::MAX), other.tier(u64::MAX));
        Self {
            input: a.input.max(b.input),
            output: a.output.max(b.output),
            cached: Some(a.cached.max(b.cached)),
            cache_write: Some(a.stored.max(b.stored)),
            cache_write_long: Some(a.stored_long.max(b.stored_long)),
            over: self.over.into_iter().chain(other.over).min(),
            input_over: Some(over_a.input.max(over_b.input)),
            output_over: Some(over_a.output.max(over_b.output)),
            context: self.context.zip(other.context).map(|(a, b)| a.max(b)),
            max_output: self.max_output.zip(other.max_output).map(|(a, b)| a.max(b)),
        }
    }
}

/// The prices of a call of some length.
struct Tier {
    input: PerMillion,
    cached: PerMillion,
    stored: PerMillion,
    stored_long: PerMillion,
    output: PerMillion,
}

impl PriceRows {
    /// The longest name is the nearest.
    fn nearest_first(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.0.iter().filter_map(|(name, price)| Row::new(name, *price)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.model.len()));
        rows
    }
}

/// What came with the program, read with the first call that has a price: most sandboxes never make one. A test reads it.
static OURS: LazyLock<Vec<Row>> =
    LazyLock::new(|| toml::from_str::<PriceRows>(BUILT_IN).unwrap_or_default().nearest_first());

impl Prices {
    /// What the operator says, and for the rest what came with the program.
    #[must_use]
    pub fn with(operators: &PriceRows) -> Self {
        Self(operators.nearest_first())
    }

    /// What a model costs. One with a date at its end costs what it does without, where no row names it.
    #[must_use]
    pub fn of(&self, provider: Provider, model: &str) -> Option<&Price> {
        let known = |model: &str| {
            let of_it = |row: &&Row| row.provider == provider && row.glob.matches(model.as_bytes());
            self.0.iter().chain(&*OURS).find(of_it).map(|row| &row.price)
        };
        known(model).or_else(|| known(undated(model)?))
    }
}

impl Row {
    fn new(name: &str, price: Price) -> Option<Self> {
        let (provider, model) = named(name)?;
        Some(Self { provider, model: model.to_owned(), glob: TextGlob::new(model), price })
    }
}

fn named(name: &str) -> Option<(Provider, &str)> {
    let (provider, model) = name.split_once('/')?;
    let provider = Provider::ALL.into_iter().find(|known| known.as_str() == provider)?;
    (!model.is_empty()).then_some((provider, model))
}

/// A name without `-2025-11-01` or `-20251101` at its end.
fn undated(model: &str) -> Option<&str> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let short = |at: usize| model.split_at_checked(model.len().checked_sub(at)?);
    if let Some((name, date)) = short(9)
        && let Some(date) = date.strip_prefix('-')
        && date.starts_with("20")
        && digits(date)
    {
        return Some(name);
    }
    let (name, date) = short(11)?;
    let parts: Vec<&str> = date.strip_prefix('-')?.split('-').collect();
    let lengths = parts.iter().map(|part| part.len()).eq([4, 2, 2]);
    (lengths && date.starts_with("-20") && parts.into_iter().all(digits)).then_some(name)
}

impl<'de> Deserialize<'de> for PriceRows {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
        #[serde(try_from = "String")]
        struct Name(String);
        impl TryFrom<String> for Name {
            type Error = BadName;

            fn try_from(name: String) -> Result<Self, BadName> {
                if named(&name).is_some() { Ok(Self(name)) } else { Err(BadName(shown(&name))) }
            }
        }
        let rows = BTreeMap::<Name, Price>::deserialize(from)?;
        Ok(Self(rows.into_iter().map(|(Name(name), price)| (name, price)).collect()))
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

impl Serialize for PerMillion {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000))
    }
}

impl<'de> Deserialize<'de> for PerMillion {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        /// As it may be written. A number with decimals is taken by its shortest text, which is what was written.
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected dollars for a million tokens, as 1.25")]
        enum Written {
            Whole(u64),
            Decimal(f64),
            Text(String),
        }
        let text = match Written::deserialize(from)? {
            Written::Whole(dollars) => dollars.to_string(),
            Written::Decimal(dollars) => dollars.to_string(),
            Written::Text(text) => text,
        };
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "`{}` is no price: expected dollars for a million tokens, as 1.25, with at most six decimals",
                shown(&text)
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Price {
        toml::from_str(text).unwrap()
    }

    fn usage(input: u64, output: u64, cached: u64, stored: u64, long: u64) -> Usage {
        Usage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            cached_tokens: Some(cached),
            stored_tokens: Some(stored),
            stored_long_tokens: Some(long),
            ..Usage::default()
        }
    }

    #[test]
    fn the_table_reads_and_every_row_is_of_a_provider() {
        let rows: PriceRows = toml::from_str(BUILT_IN).unwrap();
        assert!(rows.0.len() >= 20);
        for (name, price) in &rows.0 {
            assert!(Row::new(name, *price).is_some(), "{name}");
            assert!(price.input <= price.output || name.contains("embed"), "{name}");
            assert!(price.cached.is_none_or(|cached| cached <= price.input), "{name}");
            assert_eq!(price.over.is_some(), price.input_over.is_some(), "{name}");
        }
    }

    #[test]
    fn a_call_costs_what_its_parts_do_and_no_float_is_in_it() {
        let claude = price("input = 3\noutput = 15\ncached = 0.30\ncache_write = 3.75\ncache_write_long = 6");
        // 10 read, 30 out of a cache, 20 into one of which 5 for long, 2 written.
        let cost = claude.of(&usage(60, 2, 30, 20, 5));
        assert_eq!(cost.0, (10 * 300 + 30 * 30 + 15 * 375 + 5 * 600 + 2 * 1500) * 10_000);
        // 0.1 + 0.2 is 0.3 here.
        let tenth = price("input = 0.1\noutput = 0.2");
        assert_eq!(tenth.of(&usage(1, 1, 0, 0, 0)).0, 300_000);
        let long = price(
            "input = 2.5\noutput = 15\ncached = 0.25\nover = 272000\ninput_over = 5\noutput_over = 22.5",
        );
        assert_eq!(long.of(&usage(272_000, 1, 0, 0, 0)).0, 272_000 * 2_500_000 + 15_000_000);
        assert_eq!(long.of(&usage(272_001, 1, 9, 0, 0)).0, 272_001 * 5_000_000 + 22_500_000);
        // What does not fit is over everything.
        assert_eq!(claude.of(&usage(u64::MAX, u64::MAX, 0, 0, 0)).0, u64::MAX);
    }

    #[test]
    fn the_most_is_never_less_than_the_truth() {
        for text in [
            "input = 3\noutput = 15\ncached = 0.30\ncache_write = 3.75\ncache_write_long = 6",
            "input = 2.5\noutput = 15\ncached = 0.25\nover = 10\ninput_over = 5\noutput_over = 22.5",
            "input = 1\noutput = 2\ncached = 9\nover = 10\ninput_over = 0.5",
        ] {
            let (price, other) = (price(text), price("input = 4\noutput = 1"));
            let dearest = price.dearest(&other);
            for read in 0..24 {
                for cached in 0..=read {
                    for stored in 0..=read - cached {
                        let used = usage(read, 3, cached, stored, stored / 2);
                        assert!(price.most(read, 3) >= price.of(&used), "{text}: {used:?}");
                        assert!(price.most(23, 5) >= price.of(&used), "{text}: {used:?}");
                        assert!(dearest.most(read, 3) >= price.of(&used), "{text}: {used:?}");
                        assert!(dearest.most(read, 3) >= other.of(&used), "{text}: {used:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_operators_price_comes_first_then_the_nearest_name() {
        let operators: PriceRows = toml::from_str(
            "[\"openai/gpt-5*\"]\ninput = 7\noutput = 7\n[\"openai/gpt-5-mini\"]\ninput = 8\noutput = 8\n\
             [\"ollama/*\"]\ninput = 0\noutput = 0",
        )
        .unwrap();
        let prices = Prices::with(&operators);
        let input = |provider, model| prices.of(provider, model).map(|price| price.input.0 / 1_000_000);
        assert_eq!(input(Provider::OpenAi, "gpt-5"), Some(7));
        assert_eq!(input(Provider::OpenAi, "gpt-5-mini"), Some(8));
        assert_eq!(input(Provider::Ollama, "llama"), Some(0));
        assert_eq!(input(Provider::OpenAiCompatible, "gpt-5"), None);
        assert_eq!(input(Provider::Anthropic, "claude-opus-4-5"), Some(5));
        assert_eq!(input(Provider::Anthropic, "claude-opus-4-5-20251101"), Some(5));
        assert_eq!(input(Provider::OpenAi, "gpt-4.1-2025-04-14"), Some(2));
        for other in ["claude-opus-9", "claude-opus-4-5-2025110", "claude-opus-4-5-x", "Claude-Opus-4-5", ""]
        {
            assert_eq!(input(Provider::Anthropic, other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_price_says_so() {
        for (text, said) in [
            ("[\"gpt-5\"]\ninput = 1\noutput = 1", "names no model"),
            ("[\"who/gpt-5\"]\ninput = 1\noutput = 1", "names no model"),
            ("[\"openai/x\"]\ninput = 1", "missing field `output`"),
            ("[\"openai/x\"]\ninput = -1\noutput = 1", "`-1` is no price"),
            ("[\"openai/x\"]\ninput = 1.0000001\noutput = 1", "is no price"),
            ("[\"openai/x\"]\ninput = \"free\"\noutput = 1", "`free` is no price"),
            ("[\"openai/x\"]\ninput = inf\noutput = 1", "`inf` is no price"),
            ("[\"openai/x\"]\ninput = true\noutput = 1", "expected dollars"),
            ("[\"openai/x\"]\nprice = 1\ninput = 1\noutput = 1", "unknown field `price`"),
        ] {
            let error = toml::from_str::<PriceRows>(text).unwrap_err();
            assert!(error.to_string().contains(said), "{text}: {error}");
            assert!(error.span().is_some(), "{text}");
        }
        let rows: PriceRows = toml::from_str("[\"openai/x\"]\ninput = 1.25\noutput = \"10\"").unwrap();
        let json = serde_json::to_string(&rows).unwrap();
        assert_eq!(serde_json::from_str::<PriceRows>(&json).unwrap(), rows);
    }
}
