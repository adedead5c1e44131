//! Examples after the vendors' published schemas, and laws.

mod answers;
mod laws;
mod requests;
mod streams;

use serde_json::Value;

use super::Way;

const TO_CHAT: Way = Way::MessagesToChat { most_tokens: "max_tokens", asks_usage: true };

fn sent(way: Way, request: &Value) -> Value {
    let translated = way.request(request.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&translated.body).unwrap()
}

fn refused(way: Way, request: &Value) -> String {
    way.request(request.to_string().as_bytes()).unwrap_err().to_string()
}
