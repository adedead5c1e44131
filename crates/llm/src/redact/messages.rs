//! Messages that say how long they are: gRPC's, gRPC-web's, and those of Connect's streams.
//!
//! Each is five bytes (a byte of flags and its length, the highest byte first) and what they announce. Whoever reads
//! one waits for its last byte, and may say nothing before it has it: so nothing is held over its end.

/// The message is compressed; nothing says how, for a body that says it is refused.
const COMPRESSED: u8 = 1;
/// Flags that are known: compressed, the end of Connect's stream, the trailers of gRPC-web.
const KNOWN: u8 = 0b1000_0011;
const PREFIX: usize = 5;

/// A message is compressed in a body that does not say how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response holds a compressed message, which cannot be searched for credentials")]
pub struct Compressed;

/// Follows where messages end.
#[derive(Debug, Default)]
pub(super) struct Messages {
    prefix: Vec<u8>,
    /// Of the current message.
    left: u64,
    /// The body is not what it says: nothing of it is known.
    lost: bool,
}

impl Messages {
    /// For a body of this type, where it is of such messages.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.to_ascii_lowercase();
        let is_text = kind.starts_with("application/grpc-web-text");
        let known = ["application/grpc", "application/connect+"].iter().any(|begin| kind.starts_with(begin));
        (known && !is_text).then(Self::default)
    }

    /// Takes the next bytes of the body: behind which of them the last message so far ends.
    pub(super) fn end_in(&mut self, bytes: &[u8]) -> Result<Option<usize>, Compressed> {
        let (mut at, mut end) = (0, None);
        while at < bytes.len() && !self.lost {
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= taken as u64;
                at += taken;
            } else {
                self.prefix.extend(bytes.get(at));
                at += 1;
                if self.prefix.len() < PREFIX {
                    continue;
                }
                self.begin()?;
            }
            if self.left == 0 && !self.lost {
                end = Some(at);
            }
        }
        Ok(end)
    }

    fn begin(&mut self) -> Result<(), Compressed> {
        if let [flags, length @ ..] = self.prefix.as_slice() {
            self.lost = flags & !KNOWN != 0;
            if !self.lost && flags & COMPRESSED != 0 {
                return Err(Compressed);
            }
            self.left = length.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        }
        self.prefix.clear();
        Ok(())
    }
}
