//! A JSON scanner that keeps nothing but what is asked for, however long the text and however it is cut.
//!
//! It follows the keys from the root as deep as the [`Path`]s of interest go and hands over scalars there.
//! It does not check that the text is JSON: what is not leads to no figures, never to an error.

/// How deep a path of interest may be.
const DEPTH: usize = 4;
const LONGEST_KEY: usize = 48;
const LONGEST_SCALAR: usize = 256;

/// A position in a document: the keys from the root, arrays as an empty key.
pub(crate) type Path<'a> = &'a [String];

/// Follows one document.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    keys: Vec<String>,
    /// One bit for each open container within the first levels: whether it is an object.
    objects: Vec<bool>,
    /// Open containers below those that are followed.
    deeper: u32,
    state: State,
    token: Vec<u8>,
    overlong: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Value,
    Key,
    InKey,
    InKeyEscape,
    InString,
    InStringEscape,
    InBare,
}

impl Scanner {
    /// Takes the next bytes; `found` is told of each string or bare scalar at a followed place.
    pub(crate) fn push(&mut self, bytes: &[u8], found: &mut impl FnMut(Path<'_>, &str)) {
        for byte in bytes {
            self.byte(*byte, found);
        }
    }

    fn byte(&mut self, byte: u8, found: &mut impl FnMut(Path<'_>, &str)) {
        match self.state {
            State::InString if byte == b'"' => {
                self.scalar(found);
                self.state = State::Value;
            }
            State::InString if byte == b'\\' => self.state = State::InStringEscape,
            State::InStringEscape => {
                // A model's name has no escapes; what has is not kept.
                self.overlong = true;
                self.state = State::InString;
            }
            State::InKey if byte == b'"' => {
                self.key();
                self.state = State::Value;
            }
            State::InKey if byte == b'\\' => self.state = State::InKeyEscape,
            State::InKeyEscape => {
                self.overlong = true;
                self.state = State::InKey;
            }
            State::InKey => self.keep(byte, LONGEST_KEY),
            State::InString => self.keep(byte, LONGEST_SCALAR),
            State::InBare if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-') => {
                self.keep(byte, LONGEST_SCALAR);
            }
            State::InBare => {
                self.scalar(found);
                self.state = State::Value;
                self.between(byte);
            }
            State::Value | State::Key => self.between(byte),
        }
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' => self.open(byte == b'{'),
            b'}' | b']' => self.close(),
            b',' => {
                let within_object = self.deeper == 0 && self.objects.last() == Some(&true);
                self.state = if within_object { State::Key } else { State::Value };
            }
            b'"' => {
                self.start();
                self.state = if self.state == State::Key { State::InKey } else { State::InString };
            }
            byte if byte.is_ascii_alphanumeric() || byte == b'-' => {
                self.start();
                self.keep(byte, LONGEST_SCALAR);
                self.state = State::InBare;
            }
            _ => {}
        }
    }

    fn open(&mut self, object: bool) {
        if self.objects.len() >= DEPTH {
            self.deeper = self.deeper.saturating_add(1);
            self.state = State::Value;
            return;
        }
        self.objects.push(object);
        self.keys.push(String::new());
        self.state = if object { State::Key } else { State::Value };
    }

    fn close(&mut self) {
        self.state = State::Value;
        if self.deeper > 0 {
            self.deeper -= 1;
        } else {
            self.objects.pop();
            self.keys.pop();
        }
    }

    fn start(&mut self) {
        self.token.clear();
        self.overlong = false;
    }

    fn keep(&mut self, byte: u8, most: usize) {
        if self.deeper > 0 || self.token.len() >= most {
            self.overlong = true;
        } else {
            self.token.push(byte);
        }
    }

    fn key(&mut self) {
        if let Some(last) = self.keys.last_mut() {
            last.clear();
            if !self.overlong
                && let Ok(key) = std::str::from_utf8(&self.token)
            {
                last.push_str(key);
            }
        }
    }

    fn scalar(&mut self, found: &mut impl FnMut(Path<'_>, &str)) {
        if self.deeper == 0
            && !self.overlong
            && let Ok(scalar) = std::str::from_utf8(&self.token)
        {
            found(&self.keys, scalar);
        }
    }
}
