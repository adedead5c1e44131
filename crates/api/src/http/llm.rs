//! What model calls used and cost.

use chiton_audit::Usd;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// What the calls are summed by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UsageBy {
    /// By the sandbox's name.
    Sandbox,
    /// By provider and model.
    #[default]
    Model,
    /// By the day, in UTC, on which they ended.
    Day,
}

impl UsageBy {
    /// Every one, in the order of the help.
    pub const ALL: [UsageBy; 3] = [UsageBy::Sandbox, UsageBy::Model, UsageBy::Day];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            UsageBy::Sandbox => "sandbox",
            UsageBy::Model => "model",
            UsageBy::Day => "day",
        }
    }
}

/// Query of `GET /v1/llm/usage`. Every filter that is given must match.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// Of this sandbox, by name; also one that is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// What is summed.
    #[serde(default)]
    #[param(value_type = Option<UsageBy>)]
    pub by: UsageBy,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub since: Option<Timestamp>,
}

/// Model calls, summed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// The sandbox, `PROVIDER/MODEL`, or the day; empty for the total.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Calls that have ended.
    pub calls: u64,
    /// Tokens read, those out of and into a cache included.
    pub input_tokens: u64,
    /// Of these, the ones that came out of a cache.
    pub cached_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What they cost, in dollars, as far as there is a price.
    #[schema(value_type = f64)]
    pub usd: Usd,
    /// Calls that have no price, and are not in `usd`.
    pub unpriced: u64,
    /// Calls whose usage did not come: their figures are the most that they could cost.
    pub at_bound: u64,
    /// Calls that reserved and are not settled: they run, or their proxy died. In no figure but `so_far`.
    pub open: u64,
    /// What these have used so far.
    #[serde(default)]
    pub so_far: SoFar,
}

/// What calls have used that are not settled, as far as their providers told by now. Many tell nothing before the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SoFar {
    /// Tokens read, those out of and into a cache included.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What these cost, in dollars, where there is a price.
    #[schema(value_type = f64)]
    pub usd: Usd,
    /// Events of their streams that came. They are no tokens: one can hold several, or none.
    pub events: u64,
    /// Tokens that they may take at most; held against the limits until they are settled, whatever was told.
    pub reserved_tokens: u64,
    /// What they may cost at most, in dollars, where there is a price.
    #[schema(value_type = f64)]
    pub reserved_usd: Usd,
}

/// Answer of `GET /v1/llm/usage`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageReply {
    /// One for each name, in their order.
    pub rows: Vec<UsageRow>,
    /// All of them.
    pub total: UsageRow,
}
