//! Git servers on loopback: `git http-backend` behind a tiny HTTP server that can misbehave, and a private sshd.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What the HTTP server does with the next requests.
#[derive(Clone, Debug)]
pub enum Mood {
    Git,
    Status(u16),
    Html,
    Silence,
    Redirect(String),
    /// Git, for who sends this `Authorization` value.
    Guarded(String),
    Flood,
}

/// `git http-backend` over HTTP/1.0-style connections. Ends with the test's process; its threads hold nothing else.
pub struct HttpServer {
    pub address: String,
    mood: Arc<Mutex<Mood>>,
    requests: Arc<AtomicUsize>,
}

impl HttpServer {
    pub fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mood = Arc::new(Mutex::new(Mood::Git));
        let requests = Arc::new(AtomicUsize::new(0));
        let server = Self {
            address,
            mood: Arc::clone(&mood),
            requests: Arc::clone(&requests),
        };
        let root = root.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, mood, requests) = (root.clone(), Arc::clone(&mood), Arc::clone(&requests));
                std::thread::spawn(move || {
                    let _ = serve(stream, &root, &mood, &requests);
                });
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

fn serve(
    mut stream: TcpStream,
    root: &Path,
    mood: &Mutex<Mood>,
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or("GET").to_owned(),
        words.next().unwrap_or("/").to_owned(),
    );
    requests.fetch_add(1, Ordering::Relaxed);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.clone())
    };
    if header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else {
        body = vec![
            0;
            header("content-length")
                .and_then(|value| value.parse().ok())
                .unwrap_or(0)
        ];
        reader.read_exact(&mut body)?;
    }
    let mood = mood.lock().unwrap().clone();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    match mood {
        Mood::Status(401) => answer(&mut stream, "401 x\r\nWWW-Authenticate: Basic realm=\"x\"", b""),
        Mood::Status(code) => answer(&mut stream, &format!("{code} x"), b""),
        Mood::Html => answer(
            &mut stream,
            "200 OK\r\nContent-Type: text/html",
            b"<html><body>please log in</body></html>",
        ),
        Mood::Silence => {
            // Until the other side gives up.
            let _ = stream.read(&mut [0; 1]);
            Ok(())
        }
        Mood::Redirect(to) if !target.starts_with(&to) => {
            let rest = target
                .split_once("/info/")
                .map(|(_, rest)| format!("/info/{rest}"))
                .unwrap_or_default();
            answer(&mut stream, &format!("301 x\r\nLocation: {to}{rest}"), b"")
        }
        Mood::Flood => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nConnection: close\r\n\r\n")?;
            stream.write_all(b"001e# service=git-upload-pack\n0000")?;
            for number in 0..200_000_u32 {
                let line = format!("{:040x} refs/heads/b{number:08}\n", number + 1);
                stream.write_all(format!("{:04x}{line}", line.len() + 4).as_bytes())?;
            }
            stream.write_all(b"0000")
        }
        Mood::Guarded(wanted) if header("authorization") != Some(wanted.clone()) => {
            answer(&mut stream, "401 x\r\nWWW-Authenticate: Basic realm=\"x\"", b"")
        }
        Mood::Git | Mood::Redirect(_) | Mood::Guarded(_) => {
            let mut child = Command::new("git")
                .arg("http-backend")
                .env("GIT_PROJECT_ROOT", root)
                .env("GIT_HTTP_EXPORT_ALL", "1")
                .env("PATH_INFO", path)
                .env("QUERY_STRING", query)
                .env("REQUEST_METHOD", &method)
                .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
                .env("CONTENT_LENGTH", body.len().to_string())
                .env(
                    "HTTP_CONTENT_ENCODING",
                    header("content-encoding").unwrap_or_default(),
                )
                .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
                .env("REMOTE_ADDR", "127.0.0.1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            child.stdin.take().unwrap().write_all(&body)?;
            let printed = child.wait_with_output()?.stdout;
            let split = printed
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .unwrap_or(0);
            let head = String::from_utf8_lossy(&printed[..split]).into_owned();
            let status = head
                .lines()
                .find_map(|line| line.strip_prefix("Status: "))
                .unwrap_or("200 OK")
                .to_owned();
            answer(
                &mut stream,
                &format!("{status}\r\n{}", head.trim()),
                &printed[split + 4..],
            )
        }
    }
}

fn answer(stream: &mut TcpStream, head: &str, body: &[u8]) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}
