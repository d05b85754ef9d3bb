//! The server in the offline test images, and its health probe. Built by `setup.sh` as one static file, with std alone.
//!
//! Serves `GET /` (version and host name), `/health`, `/slow/MS` (answers after that long), `/env/NAME`, `/file/PATH`,
//! `/break` and `/mend` (health turns bad and good again), `/exit/CODE`. Environment: `PORT` (8080), `VERSION`,
//! `HEALTH=bad`, `START_DELAY_MS` (listens only then), `EXIT_AFTER_MS` and `EXIT_CODE`, and `STOP`: `graceful` (the default:
//! SIGTERM lets accepted requests end, then exits 0), `ignore`, or `abrupt` (exits 0 at once).
//! `web probe` is the healthcheck: exit 0 when `/health` answers 200.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

static STOPPING: AtomicBool = AtomicBool::new(false);
static SICK: AtomicBool = AtomicBool::new(false);
static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

/// As large as the C library's `sigset_t`.
#[repr(C)]
struct SignalSet([u64; 16]);

unsafe extern "C" {
    fn sigemptyset(set: *mut SignalSet) -> i32;
    fn sigaddset(set: *mut SignalSet, signal: i32) -> i32;
    fn pthread_sigmask(how: i32, set: *const SignalSet, old: *mut SignalSet) -> i32;
    fn setsockopt(socket: i32, level: i32, name: i32, value: *const std::ffi::c_void, length: u32) -> i32;
    fn sigwait(set: *const SignalSet, signal: *mut i32) -> i32;
}

fn main() {
    let port = variable("PORT").and_then(|port| port.parse().ok()).unwrap_or(8080);
    if std::env::args().nth(1).as_deref() == Some("probe") {
        std::process::exit(if healthy(port) { 0 } else { 1 });
    }
    let mut signals = SignalSet([0; 16]);
    // SAFETY: the set is larger than or as large as the C library's; SIGINT, SIGQUIT and SIGTERM are 2, 3 and 15 on Linux.
    unsafe {
        sigemptyset(&mut signals);
        for signal in [2, 3, 15] {
            sigaddset(&mut signals, signal);
        }
        pthread_sigmask(0, &signals, std::ptr::null_mut());
    }
    SICK.store(variable("HEALTH").as_deref() == Some("bad"), SeqCst);
    println!("web {} starting", variable("VERSION").unwrap_or_default());
    thread::spawn(move || {
        pause("START_DELAY_MS");
        serve(port)
    });
    if variable("EXIT_AFTER_MS").is_some() {
        thread::spawn(|| {
            pause("EXIT_AFTER_MS");
            eprintln!("web {} gives up", variable("VERSION").unwrap_or_default());
            std::process::exit(variable("EXIT_CODE").and_then(|code| code.parse().ok()).unwrap_or(1));
        });
    }
    loop {
        let mut signal = 0;
        // SAFETY: both pointers are to live values of this frame.
        unsafe { sigwait(&signals, &mut signal) };
        match variable("STOP").as_deref() {
            Some("ignore") => println!("signal {signal} ignored"),
            Some("abrupt") => std::process::exit(0),
            _ => {
                println!("stopping");
                STOPPING.store(true, SeqCst);
                // Wakes the accept call; if nothing listens yet there is nothing to finish.
                if TcpStream::connect(("127.0.0.1", port)).is_err() {
                    std::process::exit(0);
                }
            }
        }
    }
}

/// One instruction of a packet filter, and a filter (Linux: `sock_filter`, `sock_fprog`).
#[repr(C)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}
#[repr(C)]
struct Filter {
    length: u16,
    first: *const Instruction,
}

/// Closing a listener resets the connections that the kernel has accepted and the program has not, and one can always come
/// in between the last `accept` and the `close`. A filter that keeps no packet ends that: a new client repeats its first
/// packet, and is refused when the listener is closed.
fn accept_no_more(listener: &TcpListener) {
    const SOL_SOCKET: i32 = 1;
    const SO_ATTACH_FILTER: i32 = 26;
    const RETURN_CONSTANT: u16 = 0x06;
    let nothing = Instruction { code: RETURN_CONSTANT, if_true: 0, if_false: 0, operand: 0 };
    let filter = Filter { length: 1, first: &nothing };
    // SAFETY: the kernel copies the filter, whose one instruction lives until the call returns.
    unsafe {
        setsockopt(
            listener.as_raw_fd(),
            SOL_SOCKET,
            SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<Filter>() as u32,
        );
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn pause(name: &str) {
    if let Some(millis) = variable(name).and_then(|millis| millis.parse().ok()) {
        thread::sleep(Duration::from_millis(millis));
    }
}

fn serve(port: u16) {
    let listener = match TcpListener::bind(("0.0.0.0", port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            std::process::exit(1);
        }
    };
    println!("listening on {port}");
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                IN_FLIGHT.fetch_add(1, SeqCst);
                thread::spawn(move || {
                    let _ = stream.set_nonblocking(false);
                    let _ = answer(stream);
                    IN_FLIGHT.fetch_sub(1, SeqCst);
                });
            }
            Err(_) if STOPPING.load(SeqCst) => break,
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
        // Connections that the kernel already accepted are answered too: it is told to accept no more, and those that wait
        // are taken.
        if STOPPING.load(SeqCst) {
            accept_no_more(&listener);
            let _ = listener.set_nonblocking(true);
        }
    }
    drop(listener);
    while IN_FLIGHT.load(SeqCst) > 0 {
        thread::sleep(Duration::from_millis(2));
    }
    println!("stopped");
    std::process::exit(0);
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
    }
    let (status, body) = respond(&path);
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body.as_bytes())
}

fn respond(path: &str) -> (&'static str, String) {
    let (first, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let version = variable("VERSION").unwrap_or_default();
    match first {
        "" => {
            let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
            ("200 OK", format!("version={version} host={}\n", host.trim()))
        }
        "health" if SICK.load(SeqCst) => ("503 Service Unavailable", "sick\n".to_owned()),
        "health" => ("200 OK", "ok\n".to_owned()),
        "slow" => {
            thread::sleep(Duration::from_millis(rest.parse().unwrap_or(1000)));
            ("200 OK", format!("slow version={version}\n"))
        }
        "env" => variable(rest).map_or(("404 Not Found", "unset\n".to_owned()), |value| ("200 OK", value)),
        "file" => std::fs::read_to_string(format!("/{rest}"))
            .map_or_else(|error| ("404 Not Found", format!("{error}\n")), |text| ("200 OK", text)),
        "break" | "mend" => {
            SICK.store(first == "break", SeqCst);
            ("200 OK", format!("{first}\n"))
        }
        "exit" => std::process::exit(rest.parse().unwrap_or(1)),
        _ => ("404 Not Found", "no such page\n".to_owned()),
    }
}

fn healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
