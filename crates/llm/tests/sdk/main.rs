//! The vendors' own programs as judges of what is translated: their types read our answers and streams, and take the
//! requests that we put into their words.
//!
//! A small server stands between an SDK and a scripted backend of the other API. The script of each SDK says what it
//! saw; requests that went to the backend are held against the types of the backend's SDK, where a field that is not
//! of them is lost and so found.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use chiton_llm::translate::{Answers, Api, Way};
use chiton_testkit::routes::scripts;
use http::StatusCode;
use serde_json::{Value, json};

const NOW: u64 = 1_700_000_000;

struct Judge {
    way: Way,
    asker: Api,
    /// What was sent to the backend.
    sent: Mutex<Vec<Value>>,
}

impl Judge {
    fn serve(self: &Arc<Self>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let judge = Arc::clone(self);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let judge = Arc::clone(&judge);
                thread::spawn(move || judge.answer(stream.unwrap()));
            }
        });
        port
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut length = 0;
        let mut line = String::new();
        let mut first = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            if first.is_empty() {
                first.clone_from(&line);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        if first.starts_with("GET /seen") {
            return whole(&mut stream, 200, &json!(*self.sent.lock().unwrap()).to_string());
        }
        let translated = match self.way.request(&body) {
            Ok(translated) => translated,
            Err(error) => {
                let said = Answers::to(self.asker).error(StatusCode::BAD_REQUEST, &error.to_string());
                return whole(&mut stream, said.status.as_u16(), &said.body);
            }
        };
        let sent: Value = serde_json::from_str(&translated.body).unwrap();
        self.sent.lock().unwrap().push(sent.clone());
        let (status, told) = match self.asker {
            Api::Messages => scripts::chat(&sent, "Hello."),
            Api::Chat => scripts::messages(&sent, "Hello."),
        };
        if status == 200 && translated.answers.stream {
            let mut translator = translated.answers.stream(NOW);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            for piece in told.as_bytes().chunks(7) {
                stream.write_all(&translator.push(piece)).unwrap();
            }
            stream.write_all(&translator.finish()).unwrap();
        } else {
            let status = StatusCode::from_u16(status).unwrap();
            let said = translated.answers.whole(status, told.as_bytes(), NOW);
            whole(&mut stream, said.status.as_u16(), &said.body);
        }
    }
}

fn whole(stream: &mut TcpStream, status: u16, body: &str) {
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
}

fn judged(way: Way, asker: Api, script: &str) -> String {
    let judge = Arc::new(Judge { way, asker, sent: Mutex::default() });
    let port = judge.serve();
    let root = std::env::var_os("CHITON_TEST_PACKAGES").unwrap_or_else(|| "/var/tmp/chiton-tests".into());
    let python = PathBuf::from(root).join("python");
    assert!(python.join(".installed").exists(), "component missing: test packages; `cargo xtask setup`");
    let outcome = Command::new("/usr/bin/python3")
        .args(["-B", "-c", &[include_str!("types.py"), script].concat()])
        .env("PYTHONPATH", python)
        .env("BASE", format!("http://127.0.0.1:{port}"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&outcome.stdout).into_owned();
    assert!(outcome.status.success(), "{told}{}", String::from_utf8_lossy(&outcome.stderr));
    told
}

#[test]
fn anthropics_sdk_with_chat_completions_behind() {
    let way = Way::MessagesToChat { most_tokens: "max_completion_tokens", asks_usage: true };
    let told = judged(way, Api::Messages, include_str!("anthropic.py"));
    let wanted = "\
plain Hello. end_turn 8 3 7
stream Hello. end_turn 8 3 7
tools [('c1', 'f', {'city': 'Bern'}), ('c2', 'g', {})] tool_use
tools [('c1', 'f', {'city': 'Bern'}), ('c2', 'g', {})] tool_use
after Hello.
thoughts ['thinking', 'text']
parsed city='Bern'
limit RateLimitError 429 rate_limit_error
gone NotFoundError 404 not_found_error
broken APIStatusError server overloaded
cut APIStatusError the backend's answer ended before its end
refused BadRequestError `top_k` cannot be translated to chat completions: there is no such thing there; leave it out
6 requests are OpenAI's
";
    assert_eq!(told, wanted);
}

#[test]
fn openais_sdk_with_messages_behind() {
    let told = judged(Way::ChatToMessages, Api::Chat, include_str!("openai.py"));
    let wanted = "\
plain Hello. stop 11 3 7
stream Hello. stop 11 3 7
tools [('t1', 'f', '{\"city\": \"Bern\"}'), ('t2', 'g', '{}')] tool_calls
tools [('t1', 'f', '{\"city\": \"Bern\"}'), ('t2', 'g', '{}')] tool_calls
after Hello.
parsed city='Bern'
limit RateLimitError 429 rate_limit_error
gone NotFoundError 404 invalid_request_error
broken APIError Overloaded
cut APIError the backend's answer ended before its end
refused BadRequestError `seed` cannot be translated to Anthropic's messages: there is no such thing there; leave it out
6 requests are Anthropic's
";
    assert_eq!(told, wanted);
}
