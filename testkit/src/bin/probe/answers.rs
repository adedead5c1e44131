//! Reads the answers of one connection, as far as a test of requests needs them: status and body of each.

/// What has come so far.
pub(crate) struct Answers {
    http2: bool,
    head: bool,
    buffer: Vec<u8>,
    statuses: Vec<String>,
    bodies: Vec<String>,
    open: String,
}

impl Answers {
    /// `head`: the first answer has no body, whatever its length says.
    pub(crate) fn new(http2: bool, head: bool) -> Self {
        let (statuses, bodies) = (Vec::new(), Vec::new());
        Self { http2, head, buffer: Vec::new(), statuses, bodies, open: String::new() }
    }

    /// How many are whole.
    pub(crate) fn count(&self) -> usize {
        self.bodies.len()
    }

    pub(crate) fn into_parts(self) -> (Vec<String>, Vec<String>) {
        (self.statuses, self.bodies)
    }

    /// More bytes came.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while if self.http2 { self.frame() } else { self.answer() } {}
    }

    /// One HTTP/1 answer; false when more bytes are needed.
    fn answer(&mut self) -> bool {
        let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap_or("?").chars().take(3).collect::<String>();
        let length: Option<usize> =
            head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let chunked = head.lines().any(|line| line.starts_with("transfer-encoding:"));
        let (start, bodiless) = (end + 4, self.head && self.bodies.is_empty());
        let end = match length {
            _ if status.starts_with('1') => {
                self.buffer.drain(..start);
                return true;
            }
            _ if bodiless => start,
            Some(length) => start + length,
            None if chunked => match self.buffer[start..].windows(5).position(|five| five == b"0\r\n\r\n") {
                Some(at) => start + at + 5,
                None => return false,
            },
            None => start,
        };
        if self.buffer.len() < end {
            return false;
        }
        self.statuses.push(status);
        self.bodies.push(String::from_utf8_lossy(&self.buffer[start..end]).into_owned());
        self.buffer.drain(..end);
        true
    }

    /// One HTTP/2 frame; false when more bytes are needed. Only one stream is ever open.
    fn frame(&mut self) -> bool {
        let Some(header) = self.buffer.get(..9) else { return false };
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let (kind, last) = (header[3], header[4] & 1 != 0);
        if self.buffer.len() < 9 + length {
            return false;
        }
        let frame: Vec<u8> = self.buffer.drain(..9 + length).skip(9).collect();
        match (kind, frame.first()) {
            (0, _) => self.open.push_str(&String::from_utf8_lossy(&frame)),
            // The static table's `:status: 200`.
            (1, Some(0x88)) => self.statuses.push("200".to_owned()),
            (1, _) => self.statuses.push("4xx".to_owned()),
            (3, _) => self.statuses.push("reset".to_owned()),
            (7, _) => self.statuses.push("goaway".to_owned()),
            _ => return true,
        }
        if matches!(kind, 3 | 7) || last {
            self.bodies.push(std::mem::take(&mut self.open));
        }
        true
    }
}
