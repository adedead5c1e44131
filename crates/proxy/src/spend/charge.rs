//! One call's spending, from before it goes out until it is settled.

use std::sync::Arc;

use chiton_audit::{EventId, LlmUse};
use chiton_llm::{Bound, Cost, Price, Progress, Usage, UsageReader};
use chiton_policy::LlmGrant;

use super::{Amount, Held, Spend, usd};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// Nothing of it went out.
    Nothing,
    /// It may cost all that it can.
    All,
    /// The backend refused it, or failed.
    Refused,
}

/// The spending of one call. Settled once; where nobody does, it cost what it could.
pub(crate) struct Charge {
    spend: Arc<Spend>,
    provider: chiton_policy::Provider,
    backend: String,
    model: Option<String>,
    price: Option<Price>,
    held: Option<Held>,
    sent: Sent,
    /// What is known of it while it runs.
    progress: Progress,
    settled: bool,
}

impl Charge {
    pub(super) fn new(
        spend: &Arc<Spend>,
        grant: LlmGrant<'_>,
        model: Option<&str>,
        price: Option<Price>,
    ) -> Self {
        Self {
            spend: Arc::clone(spend),
            provider: grant.route().behind(),
            backend: grant.backend().to_string(),
            model: model.map(str::to_owned),
            price,
            held: None,
            sent: Sent::Nothing,
            progress: Progress::default(),
            settled: false,
        }
    }

    pub(super) fn backend(&self) -> &str {
        &self.backend
    }

    pub(super) const fn price(&self) -> Option<&Price> {
        self.price.as_ref()
    }

    pub(super) fn reserved(
        &mut self,
        event: EventId,
        day: i64,
        bound: Bound,
        cost: Option<Cost>,
        most: Amount,
    ) {
        self.held = Some(Held { event, day, bound, cost, most });
    }

    /// The call is about to go out.
    pub(crate) fn sent(&mut self) {
        self.sent = Sent::All;
    }

    /// Nothing of it went out after all.
    pub(crate) fn not_sent(&mut self) {
        self.sent = Sent::Nothing;
    }

    /// The backend answered with this status.
    pub(crate) fn answered(&mut self, status: http::StatusCode) {
        if status.is_client_error() || status.is_server_error() {
            self.sent = Sent::Refused;
        }
    }

    /// More of the response has come. What it tells is written soon, where the call reserved anything.
    pub(crate) fn came(&mut self, response: &UsageReader) {
        let progress = response.progress();
        if let Some(held) = self.held
            && progress != self.progress
        {
            self.progress = progress;
            let llm = LlmUse { events: Some(progress.events), ..self.told(&response.usage()) };
            self.spend.so_far.is(held.event, llm);
        }
    }

    /// What the call cost, for the event that says so. `whole`: the response ended as it should.
    pub(crate) fn settle(mut self, usage: Option<Usage>, whole: bool) -> LlmUse {
        self.settle_once(usage.unwrap_or_default(), whole)
    }

    fn settle_once(&mut self, usage: Usage, whole: bool) -> LlmUse {
        self.settled = true;
        if let Some(held) = self.held {
            self.spend.so_far.forget(held.event);
        }
        let llm = self.figures(&usage, whole);
        let held = self.held.map(|held| (held.day, held.most));
        self.spend.settled(&self.backend, held, &llm);
        llm
    }

    fn figures(&self, usage: &Usage, whole: bool) -> LlmUse {
        let told = self.told(usage);
        let Some(held) = self.held else { return told };
        match self.sent {
            Sent::Nothing => self.nothing(),
            Sent::Refused if !usage.is_told() => self.nothing(),
            Sent::All | Sent::Refused if whole && usage.is_told() => told,
            // The provider may have said more than we thought possible.
            Sent::All | Sent::Refused => {
                let most = self.at_most(held.bound, held.cost);
                LlmUse {
                    model: told.model,
                    input_tokens: most.input_tokens.max(told.input_tokens),
                    output_tokens: most.output_tokens.max(told.output_tokens),
                    usd: most.usd.max(told.usd),
                    ..most
                }
            }
        }
    }

    /// What the provider said.
    fn told(&self, usage: &Usage) -> LlmUse {
        let model = usage.model.as_deref().or(self.model.as_deref());
        let by_answer = || self.spend.prices.of(self.provider, model?).copied();
        let price = self.price.or_else(by_answer).filter(|_| usage.is_told());
        LlmUse {
            model: model.map(str::to_owned),
            input_tokens: usage.input_tokens,
            cached_tokens: usage.cached_tokens,
            cache_write_tokens: usage.stored_tokens,
            output_tokens: usage.output_tokens,
            usd: price.map(|price| usd(price.of(usage))),
            ..self.of_call()
        }
    }

    fn nothing(&self) -> LlmUse {
        LlmUse {
            input_tokens: Some(0),
            output_tokens: Some(0),
            usd: self.price.map(|_| usd(Cost::default())),
            ..self.of_call()
        }
    }

    /// The most that it can cost.
    pub(super) fn at_most(&self, bound: Bound, cost: Option<Cost>) -> LlmUse {
        LlmUse {
            input_tokens: Some(bound.input_tokens),
            output_tokens: Some(bound.output_tokens),
            usd: cost.map(usd),
            bound: true,
            ..self.of_call()
        }
    }

    fn of_call(&self) -> LlmUse {
        LlmUse {
            provider: Some(self.provider.as_str().into()),
            backend: Some(self.backend.clone()),
            model: self.model.clone(),
            call: self.held.map(|held| held.event),
            ..LlmUse::default()
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if !self.settled {
            let llm = self.settle_once(Usage::default(), false);
            // Of what set nothing aside, and sent nothing, there is nothing to tell.
            if self.held.is_some() || self.sent != Sent::Nothing {
                self.spend.events.settled(llm);
            }
        }
    }
}
