//! Streams, event by event. The output depends on the events alone, never on how their bytes are cut.
//!
//! A stream ends well only where the backend's did, by its own last event. Everything else is told as an error of the
//! asker's API: a backend that says one, that says what cannot be told, or that breaks off.

mod events;
mod of_chat;
mod of_messages;

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::{
    Answers,
    answer::{Unreadable, error_of},
    read::Api,
    write::Obj,
};
use events::{Event, Events};

/// Tells a backend's stream in the asker's words.
#[derive(Debug)]
pub struct StreamTranslator {
    events: Events,
    teller: Teller,
    asker: Api,
    over: bool,
}

#[derive(Debug)]
enum Teller {
    OfChat(Box<of_chat::Teller>),
    OfMessages(Box<of_messages::Teller>),
}

/// What an event leads to.
enum Told {
    /// It goes on.
    On,
    /// It was the last.
    Last,
    /// The backend says an error.
    Error(StatusCode, String),
}

impl StreamTranslator {
    pub(super) fn new(answers: Answers, now: u64) -> Self {
        let teller = match answers.asker {
            Api::Messages => Teller::OfChat(Box::new(of_chat::Teller::new(answers.thinking))),
            Api::Chat => Teller::OfMessages(Box::new(of_messages::Teller::new(answers.include_usage, now))),
        };
        Self { events: Events::default(), teller, asker: answers.asker, over: false }
    }

    /// Takes the next bytes and gives what the asker may be told by now.
    pub fn push(&mut self, bytes: &[u8]) -> Bytes {
        let mut out = Out(BytesMut::new());
        let Self { events, teller, asker, over } = self;
        events.push(bytes, &mut |event| {
            if *over {
                return;
            }
            let told = match (event, &mut *teller) {
                (Event::Comment, _) => {
                    out.still_there(*asker);
                    Ok(Told::On)
                }
                (Event::TooLong, _) => Err(Unreadable::TooLong),
                (Event::Data(data), Teller::OfChat(teller)) => teller.tell(data, &mut out),
                (Event::Data(data), Teller::OfMessages(teller)) => teller.tell(data, &mut out),
            };
            *over = match told {
                Ok(Told::On) => false,
                Ok(Told::Last) => true,
                Ok(Told::Error(status, message)) => out.error(*asker, status, &message),
                Err(why) => out.error(*asker, StatusCode::BAD_GATEWAY, &why.to_string()),
            };
        });
        out.0.freeze()
    }

    /// The backend's stream is at its end: an error, where that came too early.
    pub fn finish(&mut self) -> Bytes {
        let mut out = Out(BytesMut::new());
        if !std::mem::replace(&mut self.over, true) {
            out.error(self.asker, StatusCode::BAD_GATEWAY, &Unreadable::Ended.to_string());
        }
        out.0.freeze()
    }
}

/// What the asker is told.
struct Out(BytesMut);

impl Out {
    /// An event with a name, as Anthropic's have one.
    fn named(&mut self, name: &str, data: &str) {
        for part in ["event: ", name, "\ndata: ", data, "\n\n"] {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    /// An event without one.
    fn data(&mut self, data: &str) {
        for part in ["data: ", data, "\n\n"] {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    fn still_there(&mut self, asker: Api) {
        match asker {
            Api::Messages => self.named("ping", r#"{"type":"ping"}"#),
            Api::Chat => self.0.extend_from_slice(b": ping\n\n"),
        }
    }

    /// Always over then.
    fn error(&mut self, asker: Api, status: StatusCode, message: &str) -> bool {
        let error = error_of(asker, status, message);
        match asker {
            Api::Messages => {
                self.named("error", &Obj::new().str("type", "error").raw("error", &error).end());
            }
            Api::Chat => self.data(&Obj::new().raw("error", &error).end()),
        }
        true
    }
}
