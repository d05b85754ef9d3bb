//! The demo's database: lines in, lines out, one file.
//!
//! In: `PING`, `GET key`, `SET key value`, `COUNT prefix`. Out: one line for each. Guaranteed: a `SET` that was answered is on
//! the disk. Must not: be taken for a real one.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Say, ServerError};

/// The longest line, so that a stranger can't fill the memory.
const LINE_MAX: usize = 64 << 10;

struct Store {
    values: BTreeMap<String, String>,
    file: File,
}

impl Store {
    /// Reads the log of `SET`s; a last line without its end was never answered.
    fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("shop.data");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let values = whole
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let values = values.collect();
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { values, file })
    }

    fn answer(&mut self, line: &str) -> String {
        let mut words = line.trim_end().splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("PING"), None, None) => "PONG".to_owned(),
            (Some("GET"), Some(key), None) => self
                .values
                .get(key)
                .map_or("NONE".to_owned(), |value| format!("VALUE {value}")),
            (Some("COUNT"), Some(prefix), None) => {
                format!(
                    "VALUE {}",
                    self.values.keys().filter(|key| key.starts_with(prefix)).count()
                )
            }
            (Some("SET"), Some(key), Some(value)) => {
                let kept = writeln!(self.file, "{key} {value}").and_then(|()| self.file.sync_data());
                match kept {
                    Ok(()) => {
                        self.values.insert(key.to_owned(), value.to_owned());
                        "OK".to_owned()
                    }
                    Err(error) => format!("ERROR {error}"),
                }
            }
            _ => "ERROR not understood".to_owned(),
        }
    }
}

/// Serves until `stop`.
pub(super) async fn serve(
    port: u16,
    folder: &Path,
    say: Say,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let store =
        Store::open(folder).map_err(ServerError::io(format!("open {}/shop.data", folder.display())))?;
    say(&format!(
        "{} keys in {}/shop.data",
        store.values.len(),
        folder.display()
    ));
    let store = Arc::new(Mutex::new(store));
    let listener = TcpListener::bind(("0.0.0.0", port))
        .await
        .map_err(ServerError::io(format!("listen on {port}")))?;
    say(&format!("database ready on {port}"));
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            // Every answered SET is on the disk, so clients can be dropped.
            () = stop.cancelled() => break,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    clients.spawn(converse(stream, store.clone()));
                }
            }
            Some(_) = clients.join_next() => {}
        }
    }
    say("database stopped");
    Ok(())
}

async fn converse(stream: TcpStream, store: Arc<Mutex<Store>>) {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(tokio::io::AsyncReadExt::take(read, u64::MAX));
    let mut line = String::new();
    loop {
        line.clear();
        reader.get_mut().set_limit(LINE_MAX as u64);
        match reader.read_line(&mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let mut answer = store.lock().unwrap_or_else(PoisonError::into_inner).answer(&line);
        answer.push('\n');
        if write.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Asks one thing of the database at `address`.
pub(super) async fn ask(address: &str, line: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    match answer.trim_end() {
        "" => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the database did not answer",
        )),
        text if text.starts_with("ERROR") => Err(io::Error::other(text.to_owned())),
        text => Ok(text.strip_prefix("VALUE ").unwrap_or(text).to_owned()),
    }
}
