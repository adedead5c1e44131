//! A response's body on its way to the agent: metered, cleaned of injected values, cut when its revision goes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use chiton_llm::{
    UsageReader,
    redact::{QUIET, Scrubber},
};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::forward::UpstreamBody;
use crate::{inject::translate::Filter, limits, message::BodyError, revision::Redactors, running::Exchange};

/// What is done to a body that may hold an injected value, or tells its usage.
pub(crate) struct Cleaner {
    /// Undoes the content's encoding and takes injected values out.
    pub(crate) scrubber: Scrubber,
    /// The same values, for trailers.
    pub(crate) redactors: Redactors,
    /// Reads the usage.
    pub(crate) usage: Option<UsageReader>,
    /// Takes out the usage that the caller did not ask for, or tells the stream in other words.
    pub(crate) filter: Option<Filter>,
    /// Since when nothing comes, while the scrubber waits.
    pub(crate) quiet: Option<Pin<Box<Sleep>>>,
}

impl Cleaner {
    /// Ready when nothing has come for so long that nothing of what came is held any more.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.scrubber.waits() {
            return Poll::Pending;
        }
        ready!(self.quiet.get_or_insert_with(|| Box::pin(sleep(QUIET))).as_mut().poll(cx));
        self.quiet = None;
        self.scrubber.quiet();
        Poll::Ready(())
    }
}

/// The body of an upstream response. Its exchange ends with it.
pub(crate) struct RelayedBody {
    body: UpstreamBody,
    cleaner: Option<Box<Cleaner>>,
    state: State,
    /// Waited for once something else is.
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    stall: Stall,
    /// So many bytes may still come, where the rule has a limit.
    left: Option<u64>,
    /// The server has sent all of it.
    whole: bool,
    exchange: Exchange,
}

/// Since when the server says nothing, while somebody would listen.
#[derive(Default)]
struct Stall(Option<Pin<Box<Sleep>>>);

impl Stall {
    /// The server spoke.
    fn heard(&mut self) {
        if let Some(sleep) = &mut self.0 {
            sleep.as_mut().reset(Instant::now() + limits::BODY_STALL);
        }
    }

    /// Ready when it has said nothing for too long.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.get_or_insert_with(|| Box::pin(sleep(limits::BODY_STALL))).as_mut().poll(cx)
    }
}

enum State {
    Flowing,
    /// The server is done; the cleaner may not be.
    Ending(Option<HeaderMap>),
    /// The server broke off. Said one turn later, so that what came before still reaches the agent: a reset of an
    /// HTTP/2 stream takes back what is not written yet.
    Broken(Option<BodyError>),
    Done,
}

impl RelayedBody {
    /// Joins a body with the exchange that it is of.
    pub(crate) fn new(
        body: UpstreamBody,
        cleaner: Option<Box<Cleaner>>,
        left: Option<u64>,
        exchange: Exchange,
    ) -> Self {
        let (cut, stall) = (None, Stall::default());
        let mut relayed =
            Self { body, cleaner, state: State::Flowing, cut, stall, left, whole: false, exchange };
        if relayed.body.is_end_stream() {
            // No body at all, as for HEAD: nothing that an encoding could be undone of.
            relayed.server_done();
            relayed.finish();
        }
        relayed
    }

    fn server_done(&mut self) {
        self.whole = true;
        self.body.release();
        if let Some(cleaner) = &mut self.cleaner {
            cleaner.scrubber.end();
        }
    }

    fn finish(&mut self) {
        self.state = State::Done;
        let usage = self.cleaner.as_ref().and_then(|cleaner| cleaner.usage.as_ref());
        self.exchange.finished(usage, self.whole);
    }

    /// The next clean piece; none where the cleaner needs more, or has nothing left. One of no length: it has done much,
    /// and there is more to do.
    fn clean_piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(cleaner) = &mut self.cleaner else { return Ok(None) };
        while let Some(piece) =
            cleaner.scrubber.next().map_err(|error| BodyError::Redaction(error.to_string()))?
        {
            if piece.is_empty() {
                return Ok(Some(piece));
            }
            if let Some(usage) = &mut cleaner.usage {
                usage.push(&piece);
                self.exchange.came(usage);
            }
            let piece = match &mut cleaner.filter {
                Some(filter) => filter.push(&piece),
                None => piece,
            };
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// Ready when the exchange is over or cut.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let over = self.exchange.over();
        let cut = self.cut.get_or_insert_with(|| Box::pin(over.clone().cancelled_owned()));
        cut.as_mut().poll(cx)
    }

    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if matches!(self.state, State::Done) {
            return Poll::Ready(None);
        }
        if self.exchange.over().is_cancelled() {
            return Poll::Ready(Some(Err(BodyError::Cut)));
        }
        loop {
            match self.clean_piece() {
                Ok(Some(piece)) if piece.is_empty() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match &mut self.state {
                State::Flowing | State::Done => {}
                State::Ending(trailers) => {
                    let trailers = trailers.take();
                    return Poll::Ready(self.last_frame(trailers).map(Ok));
                }
                State::Broken(error) => return Poll::Ready(error.take().map(Err)),
            }
            let Poll::Ready(polled) = Pin::new(&mut self.body).poll_frame(cx) else {
                if self.cleaner.as_mut().is_some_and(|cleaner| cleaner.poll_quiet(cx).is_ready()) {
                    continue;
                }
                if self.poll_cut(cx).is_ready() {
                    return Poll::Ready(Some(Err(BodyError::Cut)));
                }
                return self.stall.poll_over(cx).map(|()| Some(Err(BodyError::Stalled)));
            };
            self.stall.heard();
            match polled {
                Some(Ok(frame)) => match (frame.into_data(), &mut self.cleaner) {
                    (Ok(data), Some(cleaner)) => {
                        cleaner.quiet = None;
                        cleaner.scrubber.feed(data);
                        if self.body.is_end_stream() {
                            self.server_done();
                            self.state = State::Ending(None);
                        }
                    }
                    (Ok(data), None) => {
                        if self.body.is_end_stream() {
                            self.server_done();
                            self.state = State::Ending(None);
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    (Err(frame), _) => {
                        self.server_done();
                        self.state = State::Ending(frame.into_trailers().ok());
                    }
                },
                Some(Err(error)) => {
                    self.state = State::Broken(Some(error));
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {
                    self.server_done();
                    self.state = State::Ending(None);
                }
            }
        }
    }

    /// What comes after the last piece: what a filter held, else the trailers, else the end.
    fn last_frame(&mut self, trailers: Option<HeaderMap>) -> Option<Frame<Bytes>> {
        let filter = self.cleaner.as_mut().and_then(|cleaner| cleaner.filter.take());
        let rest = filter.map(|mut filter| filter.finish()).unwrap_or_default();
        if !rest.is_empty() {
            self.state = State::Ending(trailers);
            return Some(Frame::data(rest));
        }
        self.finish();
        let mut trailers = trailers?;
        if let Some(cleaner) = &self.cleaner {
            cleaner.redactors.scrub_headers(&mut trailers);
        }
        crate::headers::strip_hop_by_hop(&mut trailers);
        trailers.remove(http::header::CONTENT_LENGTH);
        Some(Frame::trailers(trailers))
    }
}

impl Drop for RelayedBody {
    fn drop(&mut self) {
        if !matches!(self.state, State::Done) {
            // Nobody waits for the rest, in which the usage may be.
            let counts = self.cleaner.as_ref().is_some_and(|cleaner| cleaner.usage.is_some());
            while counts && self.whole && matches!(self.clean_piece(), Ok(Some(_))) {}
            self.finish();
        }
    }
}

impl Body for RelayedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut polled = ready!(this.poll_any(cx));
        if let (Some(Ok(frame)), Some(left)) = (&polled, &mut this.left) {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(length) {
                Some(less) => *left = less,
                None => {
                    this.exchange.over_limit("the response is over the rule's `response_body`");
                    polled = Some(Err(BodyError::OverLimit));
                }
            }
        }
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.exchange.passed(data.len());
                }
            }
            Some(Err(_)) => this.finish(),
            None => {}
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.state, &self.cleaner) {
            (State::Done, _) => SizeHint::with_exact(0),
            (State::Flowing, None) => self.body.size_hint(),
            (State::Flowing | State::Ending(_) | State::Broken(_), _) => SizeHint::default(),
        }
    }
}
