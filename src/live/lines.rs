//! Bytes in, lines out.
//!
//! In: pieces of a stream. Out: lines without their end. Guaranteed: a line that the network cut is whole again, bytes that are
//! no UTF-8 are replaced, and memory is bounded however long a line is. Must not: interpret what a line says.

/// A longer line is cut into pieces.
const LINE_MAX: usize = 16 << 10;

/// A stream of bytes that is read line by line.
#[derive(Debug, Default)]
pub struct Lines {
    /// A begun line.
    begun: Vec<u8>,
}

impl Lines {
    /// Hands each line that ends in `data` to `each`.
    pub fn take(&mut self, data: &[u8], mut each: impl FnMut(String)) {
        let mut pieces = data.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.begun.extend_from_slice(piece);
            if pieces.peek().is_some() || self.begun.len() > LINE_MAX {
                each(text(&std::mem::take(&mut self.begun)));
            }
        }
    }

    /// The line that had begun when the stream ended, if there is one.
    pub fn finish(self) -> Option<String> {
        (!self.begun.is_empty()).then(|| text(&self.begun))
    }
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end_matches('\r').to_owned()
}
