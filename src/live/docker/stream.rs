//! Answers that come in pieces.
//!
//! In: a response body. Out: the JSON objects in it, one by one. Guaranteed: an object cut in two by the network comes out whole; what was
//! read is never lost. Must not: reconnect.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;

use crate::live::error::{LiveError, Problem};

/// The largest single object of a stream.
const STREAM_ITEM_MAX: usize = 16 << 20;

/// JSON objects that come one after another until the engine ends the stream.
#[derive(Debug)]
pub struct JsonStream {
    call: String,
    body: Incoming,
    buffer: Vec<u8>,
}

impl JsonStream {
    pub(super) fn new(call: &str, body: Incoming) -> Self {
        Self {
            call: call.to_owned(),
            body,
            buffer: Vec::new(),
        }
    }

    /// The next object; `None` at the end. Dropping the future loses nothing: what was read stays buffered.
    pub async fn next(&mut self) -> Result<Option<Value>, LiveError> {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<Value>();
            match values.next() {
                Some(Ok(value)) => {
                    let used = values.byte_offset();
                    self.buffer.drain(..used);
                    return Ok(Some(value));
                }
                Some(Err(error)) if !error.is_eof() => {
                    return Err(LiveError::new(&self.call, Problem::Unreadable));
                }
                _ if self.buffer.len() > STREAM_ITEM_MAX => {
                    return Err(LiveError::new(&self.call, Problem::Unreadable));
                }
                _ => {}
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(LiveError::caused(&self.call, Problem::Cut, &error)),
                None if self.buffer.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => return Err(LiveError::new(&self.call, Problem::Cut)),
            }
        }
    }
}
