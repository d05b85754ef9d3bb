//! What containers print.
//!
//! In: an engine's log stream, in frames per stream or as a terminal's raw bytes. Out: whole lines. Guaranteed: a line that
//! the network cut is whole again, bytes that are no UTF-8 are replaced, and memory is bounded however much is printed.
//! Must not: mask (the caller knows the secrets), or interpret what a line says.

use std::collections::VecDeque;

use http_body_util::BodyExt as _;

use super::client::{Client, READ_DEADLINE, path};
use crate::clock::Timestamp;
use crate::live::error::{LiveError, Problem};
use crate::live::lines;
use crate::live::world::ContainerId;

/// What is kept of a container's last words.
const TAIL_BYTES: usize = 64 << 10;

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, and everything of a terminal.
    Out,
    /// Standard error.
    Err,
}

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it was printed.
    pub stream: Stream,
    /// The text, after the engine's time and a space if times were asked for.
    pub text: String,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogAsk {
    /// The last so many; all when absent.
    pub tail: Option<usize>,
    /// Printed since then.
    pub since: Option<Timestamp>,
    /// Go on with what is printed from now on, until the container ends.
    pub follow: bool,
    /// Put the engine's time before each line.
    pub timestamps: bool,
}

/// Hands each line that `ask` is about to `each`, as it comes. Returns when the engine ends the stream.
pub(super) async fn follow(
    client: &Client,
    id: &ContainerId,
    ask: &LogAsk,
    mut each: impl FnMut(Line),
) -> Result<(), LiveError> {
    let call = format!("read the logs of {}", id.short());
    let flag = |set: bool| if set { "1" } else { "0" };
    let tail = ask
        .tail
        .map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let since = ask.since.map(seconds);
    let mut query = vec![
        ("stdout", "1"),
        ("stderr", "1"),
        ("tail", tail.as_str()),
        ("follow", flag(ask.follow)),
        ("timestamps", flag(ask.timestamps)),
    ];
    query.extend(since.as_deref().map(|since| ("since", since)));
    let mut body = client
        .stream(&call, &path(&["containers", &id.0, "logs"]), &query)
        .await?;
    let mut lines = Lines::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| LiveError::caused(&call, Problem::Cut, &error))?;
        if let Ok(data) = frame.into_data() {
            lines.take(&data, &mut each);
        }
    }
    lines.finish(&mut each);
    Ok(())
}

/// The last `tail` lines, oldest first; fewer when they are long.
pub(super) async fn last(client: &Client, id: &ContainerId, tail: usize) -> Result<Vec<String>, LiveError> {
    let mut kept = VecDeque::new();
    let mut bytes = 0;
    let ask = LogAsk {
        tail: Some(tail),
        ..LogAsk::default()
    };
    let read = follow(client, id, &ask, |line| {
        bytes += line.text.len() + 1;
        kept.push_back(line.text);
        while kept.len() > tail || bytes > TAIL_BYTES {
            let Some(oldest) = kept.pop_front() else { break };
            bytes -= oldest.len() + 1;
        }
    });
    match tokio::time::timeout(READ_DEADLINE, read).await {
        Ok(read) => read?,
        Err(_) => {
            let call = format!("read the logs of {}", id.short());
            return Err(LiveError::new(call, Problem::Deadline { after: READ_DEADLINE }));
        }
    }
    Ok(kept.into())
}

/// As the API wants times: seconds since the epoch with their fraction.
pub(super) fn seconds(at: Timestamp) -> String {
    format!("{}.{:09}", at.as_second(), at.subsec_nanosecond())
}

/// Bytes in, lines out.
#[derive(Debug, Default)]
struct Lines {
    /// Bytes before the next whole frame.
    pending: Vec<u8>,
    /// By stream.
    of: [lines::Lines; 2],
    framing: Framing,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Framing {
    #[default]
    Unknown,
    Frames,
    Raw,
}

impl Lines {
    fn take(&mut self, data: &[u8], each: &mut impl FnMut(Line)) {
        if self.framing == Framing::Raw {
            return self.print(Stream::Out, data, each);
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(data);
        let mut rest = &pending[..];
        while let Some((header, after)) = rest.split_first_chunk::<8>() {
            let stream = match header {
                [0 | 1, 0, 0, 0, ..] => Stream::Out,
                [2, 0, 0, 0, ..] => Stream::Err,
                // 3 is the engine's own message about the stream.
                [3, 0, 0, 0, ..] => Stream::Err,
                // API 1.41 does not say which of the two it sends; text does not begin like a frame.
                _ => {
                    self.framing = Framing::Raw;
                    return self.print(Stream::Out, rest, each);
                }
            };
            self.framing = Framing::Frames;
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            let Some((content, next)) = after.split_at_checked(length) else {
                break;
            };
            self.print(stream, content, each);
            rest = next;
        }
        self.pending = rest.to_vec();
    }

    fn print(&mut self, stream: Stream, content: &[u8], each: &mut impl FnMut(Line)) {
        self.of[usize::from(stream == Stream::Err)].take(content, |text| each(Line { stream, text }));
    }

    fn finish(mut self, each: &mut impl FnMut(Line)) {
        let pending = std::mem::take(&mut self.pending);
        if self.framing == Framing::Unknown && !pending.is_empty() {
            // Less than a header: a terminal's last few characters.
            self.print(Stream::Out, &pending, each);
        }
        for (stream, lines) in [Stream::Out, Stream::Err].into_iter().zip(self.of) {
            if let Some(text) = lines.finish() {
                each(Line { stream, text });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend((text.len() as u32).to_be_bytes());
        frame.extend(text.as_bytes());
        frame
    }

    fn lines(bytes: &[u8], step: usize) -> Vec<(Stream, String)> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        let mut each = |line: Line| seen.push((line.stream, line.text));
        for piece in bytes.chunks(step) {
            lines.take(piece, &mut each);
        }
        lines.finish(&mut each);
        seen
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let bytes = [
            frame(1, "one\ntw"),
            frame(2, "bad\n"),
            frame(1, "o\n"),
            frame(1, "end"),
        ]
        .concat();
        let expected = [
            (Stream::Out, "one"),
            (Stream::Err, "bad"),
            (Stream::Out, "two"),
            (Stream::Out, "end"),
        ];
        for step in [1, 3, 8, 1000] {
            let seen = lines(&bytes, step);
            let seen: Vec<(Stream, &str)> = seen
                .iter()
                .map(|(stream, text)| (*stream, text.as_str()))
                .collect();
            assert_eq!(seen, expected, "{step}");
        }
    }

    #[test]
    fn a_terminal_has_no_frames() {
        for (bytes, expected) in [
            (&b"hello world\r\nnext\r\n"[..], &["hello world", "next"][..]),
            (b"hi\n", &["hi"]),
            (b"", &[]),
            (b"\xff\xfe of nothing\n", &["\u{fffd}\u{fffd} of nothing"]),
        ] {
            let seen: Vec<String> = lines(bytes, 1000).into_iter().map(|(_, text)| text).collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn an_endless_line_is_cut() {
        let seen = lines(&frame(1, &"x".repeat(100_000)), 1 << 14);
        assert!(!seen.is_empty() && seen.iter().map(|(_, text)| text.len()).sum::<usize>() == 100_000);
    }
}
