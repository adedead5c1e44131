//! What model calls spend, and that it stays under the limits of their route.
//!
//! A call on a route with a limit by day reserves the most that it can cost, in an event that is written before the
//! call goes out; its completion settles that with what the provider said. The event file is the ledger: a proxy that
//! replaces one that died reads the day's part of it, and a reservation that nothing settled stays spent. How far a
//! running call is gets written as well, for who looks: it is never counted for less than what is reserved.
//!
//! Counted by backend, not by the route's name: names tell the place in the document, and another place must not
//! begin anew. All routes of a sandbox to one backend share what is spent there.

mod charge;
mod past;
mod so_far;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chiton_audit::{EventId, LlmUse, Time, Usd};
use chiton_llm::{Bound, BoundError, Cost, Price, PriceRows, Prices, Windows};
use chiton_policy::{Denial, LlmGrant, Reason, RequestPermit, Spends, model::LlmLimits};

use crate::events::{Events, NotWritten};

pub(crate) use charge::Charge;
pub(crate) use past::{PROGRESS, Past, RESERVE, SETTLE};
use so_far::SoFar;

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    tokens: u64,
    usd: Usd,
}

/// What was spent at one backend on the ledger's day.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    used: Amount,
    /// By calls that run.
    held: Amount,
}

/// The day's counts.
#[derive(Debug, Default)]
struct Ledger {
    day: i64,
    backends: HashMap<String, Counted>,
}

/// What all model calls of a sandbox spend.
pub(crate) struct Spend {
    prices: Prices,
    events: Arc<Events>,
    ledger: Mutex<Ledger>,
    so_far: SoFar,
}

/// What a call says of itself, as it is sent.
pub(crate) struct Call<'a> {
    /// The models that its body names.
    pub(crate) models: &'a [String],
    /// Its body, where it was read and is JSON.
    pub(crate) body: Option<&'a [u8]>,
    /// The field by which it asks for another price than the standard one.
    pub(crate) tier: Option<&'static str>,
}

/// Why a call does not go out.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It could not be told what it costs, or it could never be paid.
    Denied(Denial),
    /// It has to wait: so long.
    Over(Denial, Duration),
    /// It could not be written down.
    NotWritten(NotWritten),
}

/// A limit that a call would break.
#[derive(Debug, PartialEq, Eq)]
struct Over {
    said: String,
    /// It would also on a day on which nothing was spent.
    always: bool,
}

impl Amount {
    const fn plus(self, other: Self) -> Self {
        Self { tokens: self.tokens.saturating_add(other.tokens), usd: self.usd.plus(other.usd) }
    }

    /// The larger of each.
    fn most(self, other: Self) -> Self {
        Self { tokens: self.tokens.max(other.tokens), usd: self.usd.max(other.usd) }
    }

    const fn without(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_sub(other.tokens),
            usd: Usd(self.usd.0.saturating_sub(other.usd.0)),
        }
    }

    /// What an event says.
    fn of(llm: &LlmUse) -> Self {
        let tokens = [llm.input_tokens, llm.output_tokens].into_iter().flatten();
        Self { tokens: tokens.fold(0, u64::saturating_add), usd: llm.usd.unwrap_or_default() }
    }
}

impl Ledger {
    /// A new day begins; a clock that goes back begins none.
    fn turn(&mut self, day: i64) {
        if day > self.day {
            *self = Self { day, backends: HashMap::new() };
        }
    }

    fn at(&mut self, backend: &str) -> &mut Counted {
        self.backends.entry(backend.to_owned()).or_default()
    }

    /// Sets an amount aside, where no limit would be broken should all of it be spent. The day that it is of.
    fn hold(&mut self, now: Time, backend: &str, limits: &LlmLimits, bound: Amount) -> Result<i64, Over> {
        self.turn(now.day());
        let Counted { used, held } = *self.at(backend);
        over(limits, used, held, bound)?;
        let counted = self.at(backend);
        counted.held = counted.held.plus(bound);
        Ok(self.day)
    }

    /// Counts what was spent, in place of what was set aside on a day.
    fn settle(&mut self, now: Time, backend: &str, held: Option<(i64, Amount)>, spent: Amount) {
        self.turn(now.day());
        let day = self.day;
        let counted = self.at(backend);
        match held {
            Some((of, held)) if of == day => counted.held = counted.held.without(held),
            // It was of a day that is over.
            Some(_) => return,
            None => {}
        }
        counted.used = counted.used.plus(spent);
    }
}

/// Whether a limit would be broken.
fn over(limits: &LlmLimits, used: Amount, held: Amount, bound: Amount) -> Result<(), Over> {
    let broken = |used: u64, held: u64, bound: u64, most: u64| {
        used.checked_add(held).and_then(|sum| sum.checked_add(bound)).is_none_or(|sum| sum > most)
    };
    if let Some(most) = limits.tokens_per_day
        && broken(used.tokens, held.tokens, bound.tokens, most)
    {
        return Err(Over {
            said: format!(
                "`tokens_per_day` is {most}: {} are used, {} are reserved by calls that run, and this one may take {}",
                used.tokens, held.tokens, bound.tokens
            ),
            always: bound.tokens > most,
        });
    }
    let Some(usd) = limits.usd_per_day else { return Ok(()) };
    let most = Usd(usd.micros.saturating_mul(1_000_000));
    if broken(used.usd.0, held.usd.0, bound.usd.0, most.0) {
        return Err(Over {
            said: format!(
                "`usd_per_day` is {most}: {} are used, {} are reserved by calls that run, and this one may cost {}",
                used.usd, held.usd, bound.usd
            ),
            always: bound.usd > most,
        });
    }
    Ok(())
}

impl Spend {
    /// With the operator's prices, from where earlier proxies of the sandbox left off.
    pub(crate) fn new(operators: &PriceRows, events: Arc<Events>, past: Past) -> Arc<Self> {
        let ledger = Mutex::new(past.into_ledger());
        Arc::new(Self { prices: Prices::with(operators), events, ledger, so_far: SoFar::default() })
    }

    /// Writes how far running calls are, for as long as the proxy runs.
    pub(crate) async fn write_so_far(&self) {
        self.so_far.write(&self.events).await;
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call spend: sets the most that it can cost aside where its route has a limit, and has written that when
    /// it returns. None for a call that costs nothing.
    pub(crate) fn charge(
        self: &Arc<Self>,
        permit: &RequestPermit,
        grant: LlmGrant<'_>,
        call: &Call<'_>,
    ) -> Result<Option<Charge>, Refused> {
        // As the backend gets it: translated, where it is.
        let (route, facts) = (grant.route(), grant.backend_facts());
        let endpoint = grant.translated().unwrap_or(grant.endpoint());
        if !endpoint.calls_model() || matches!(endpoint.spends, Spends::Nothing) {
            return Ok(None);
        }
        let in_path = grant.model_in_path();
        let models: Vec<&str> = in_path.iter().chain(call.models).map(String::as_str).collect();
        let priced: Result<Vec<Price>, &str> =
            models.iter().map(|model| self.prices.of(route.behind(), model).copied().ok_or(*model)).collect();
        let windows = match &priced {
            Ok(prices) if !prices.is_empty() => windows(prices),
            _ => Windows::default(),
        };
        let dearest =
            priced.as_ref().ok().and_then(|prices| prices.iter().copied().reduce(|a, b| a.dearest(&b)));
        let mut charge = Charge::new(self, grant, models.first().copied(), dearest);
        if !route.limits.of_spending() {
            return Ok(Some(charge));
        }
        let denied = |said: String| Refused::Denied(denial(Reason::LimitExceeded, permit, said));
        let named = format!("route \"{}\" has limits of what calls spend", route.name);
        let Some(body) = call.body else {
            return Err(denied(format!(
                "{named}, and this call's body cannot be read: it is no plain `application/json` in UTF-8"
            )));
        };
        let bound = Bound::of(facts, endpoint, &models, windows, body).map_err(|error| match error {
            BoundError::Ambiguous(error) => {
                Refused::Denied(denial(Reason::AmbiguousRequest, permit, error.to_string()))
            }
            BoundError::Untold(_) | BoundError::Tool(_) | BoundError::Runs(_) => {
                denied(format!("{named}: {error}"))
            }
        })?;
        if route.limits.usd_per_day.is_some() {
            let unpriced = match (&priced, bound.tier.or(call.tier)) {
                (Err(model), _) => Some(format!("there is no price for `{}`", shown(model))),
                (Ok(prices), _) if prices.is_empty() => {
                    Some("which model it is for cannot be told".to_owned())
                }
                (Ok(_), Some(tier)) => Some(format!("there is no price for its `{tier}`; leave it out")),
                (Ok(_), None) => None,
            };
            if let Some(why) = unpriced {
                let where_to = format!("[llm.prices.\"{}/MODEL\"] of config.toml", route.behind());
                return Err(denied(format!(
                    "route \"{}\" has `usd_per_day`, and {why}; prices are set outside, in {where_to}",
                    route.name
                )));
            }
        }
        self.reserve(permit, grant, &mut charge, bound)?;
        Ok(Some(charge))
    }

    fn reserve(
        &self,
        permit: &RequestPermit,
        grant: LlmGrant<'_>,
        charge: &mut Charge,
        bound: Bound,
    ) -> Result<(), Refused> {
        let route = grant.route();
        let cost = charge.price().map(|price| price.most(bound.input_tokens, bound.output_tokens));
        let most = Amount { tokens: bound.tokens(), usd: usd(cost.unwrap_or_default()) };
        let now = Time::now();
        let day = self.ledger().hold(now, charge.backend(), &route.limits, most).map_err(|over| {
            let said = format!("route \"{}\": {}", route.name, over.said);
            if over.always {
                let said = format!(
                    "{said}, which is more than a whole day's; let it write less, as by `max_tokens`"
                );
                return Refused::Denied(denial(Reason::LimitExceeded, permit, said));
            }
            let said = format!("{said}; it begins anew at {}", now.midnight());
            Refused::Over(denial(Reason::LimitExceeded, permit, said), now.to_midnight())
        })?;
        let llm = charge.at_most(bound, cost);
        match self.events.reserved(permit, llm) {
            Ok(event) => {
                charge.reserved(event, day, bound, cost, most);
                Ok(())
            }
            Err(error) => {
                self.ledger().settle(now, charge.backend(), Some((day, most)), Amount::default());
                Err(Refused::NotWritten(error))
            }
        }
    }

    /// What a call that was told to cost this did cost.
    fn settled(&self, backend: &str, held: Option<(i64, Amount)>, llm: &LlmUse) {
        self.ledger().settle(Time::now(), backend, held, Amount::of(llm));
    }
}

fn windows(prices: &[Price]) -> Windows {
    let largest = |of: fn(&Price) -> Option<u64>| {
        prices.iter().map(of).collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max())
    };
    Windows { context: largest(|price| price.context), max_output: largest(|price| price.max_output) }
}

const fn usd(cost: Cost) -> Usd {
    Usd(cost.0)
}

fn denial(reason: Reason, permit: &RequestPermit, said: String) -> Denial {
    Denial::after_permit(reason, permit.rule().cloned(), permit.intent(), said)
}

/// A model's name, which the agent chooses, in a line of ours.
fn shown(model: &str) -> String {
    model.chars().filter(|c| c.is_ascii_graphic() && *c != '`').take(100).collect()
}

/// The id of a reservation's event, and what it set aside.
#[derive(Clone, Copy, Debug)]
struct Held {
    event: EventId,
    day: i64,
    bound: Bound,
    cost: Option<Cost>,
    most: Amount,
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use chiton_policy::Policy;

    use super::*;

    fn limits(text: &str) -> LlmLimits {
        let policy =
            Policy::parse(&format!("dynamic: {{llm_routing: {{provider: openai, limits: {text}}}}}"));
        policy.unwrap().dynamic.llm[0].limits.clone()
    }

    fn at(seconds: u64) -> Time {
        Time::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn tokens(tokens: u64) -> Amount {
        Amount { tokens, usd: Usd(tokens * 1_000_000) }
    }

    const DAY: u64 = 86_400;

    #[test]
    fn what_is_set_aside_and_what_is_spent_stay_under_the_limit_together() {
        let mut ledger = Ledger::default();
        let limits = limits("{tokens_per_day: 100}");
        let day = ledger.hold(at(DAY), "b", &limits, tokens(60)).unwrap();
        let error = ledger.hold(at(DAY), "b", &limits, tokens(41)).unwrap_err();
        assert!(error.said.contains("is 100: 0 are used, 60 are reserved") && !error.always, "{error:?}");
        ledger.settle(at(DAY + 1), "b", Some((day, tokens(60))), tokens(10));
        assert_eq!(ledger.hold(at(DAY + 2), "b", &limits, tokens(90)), Ok(1));
        assert!(ledger.hold(at(DAY + 2), "b", &limits, tokens(1)).is_err());
        assert_eq!(ledger.hold(at(DAY + 2), "other", &limits, tokens(100)), Ok(1));
        assert!(ledger.hold(at(DAY + 2), "new", &limits, tokens(101)).unwrap_err().always);
        // What was spent without a reservation counts, and more than the bound too.
        ledger.settle(at(DAY + 3), "third", None, tokens(120));
        let error = ledger.hold(at(DAY + 4), "third", &limits, tokens(1)).unwrap_err();
        assert!(error.said.contains("120 are used") && !error.always, "{error:?}");
    }

    #[test]
    fn money_is_counted_exactly() {
        let mut ledger = Ledger::default();
        let limits = limits("{usd_per_day: 0.000300}");
        for _ in 0..300 {
            let day = ledger.hold(at(9), "b", &limits, tokens(1)).unwrap();
            ledger.settle(at(9), "b", Some((day, tokens(1))), tokens(1));
        }
        let error = ledger.hold(at(9), "b", &limits, Amount { tokens: 1, usd: Usd(1) }).unwrap_err();
        assert!(error.said.contains("is 0.0003: 0.0003 are used"), "{error:?}");
        let huge = Amount { tokens: u64::MAX, usd: Usd(u64::MAX) };
        assert!(ledger.hold(at(9), "b", &limits, huge).is_err());
    }

    #[test]
    fn a_new_day_begins_at_midnight_utc_and_a_clock_that_goes_back_begins_none() {
        let mut ledger = Ledger::default();
        let limits = limits("{tokens_per_day: 100}");
        let day = ledger.hold(at(2 * DAY - 1), "b", &limits, tokens(100)).unwrap();
        assert!(ledger.hold(at(2 * DAY - 1), "b", &limits, tokens(1)).is_err());
        assert_eq!(ledger.hold(at(2 * DAY), "b", &limits, tokens(90)), Ok(2));
        // Yesterday's call ends today: it is not of today.
        ledger.settle(at(2 * DAY + 1), "b", Some((day, tokens(100))), tokens(100));
        assert!(ledger.hold(at(2 * DAY + 1), "b", &limits, tokens(10)).is_ok());
        assert!(ledger.hold(at(DAY), "b", &limits, tokens(1)).is_err());
        assert_eq!(at(2 * DAY - 1).to_midnight(), Duration::from_secs(1));
        assert_eq!(at(DAY).to_midnight(), Duration::from_secs(DAY));
        assert_eq!(at(DAY - 1).midnight(), at(DAY));
    }
}
