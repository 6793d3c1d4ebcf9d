//! Servers for tests: one that plays a script, answering each connection with the next act of it, and llama.cpp's own.

mod llama_cpp;

pub use llama_cpp::LlamaCpp;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

/// What the server does with a connection.
#[derive(Clone, Debug)]
pub enum Act {
    /// Replies with this text, whole, or as a stream if that was asked for, a character an event.
    Say(String),
    /// Replies with this body, status 200.
    Body(Vec<u8>),
    /// Replies with these events as a stream, and ends it.
    Events(Vec<String>),
    /// Replies with this status, further header lines and body.
    Status(u16, Vec<String>, String),
    /// Accepts and says nothing.
    Stall,
    /// Streams these events and then falls silent.
    StallAfter(Vec<String>),
    /// Sends half of a reply and closes.
    Cut,
    /// Streams one event over and over: so often, or until nobody listens.
    Repeat(String, usize),
    /// Sends bytes without end or line break, as a stream.
    Flood,
    /// Sends bytes that are no HTTP.
    Garbage,
    /// Sends a whole reply, a byte every so often.
    Drip(String, Duration),
}

/// A server on a port of its own. It ends with the test's process.
#[derive(Debug)]
pub struct Stub {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// Starts a server; after the last act it repeats that.
    ///
    /// # Errors
    /// If there is no port to listen at.
    pub fn start(script: Vec<Act>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}/v1", listener.local_addr()?);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { continue };
                let act = script.get(number).or(script.last()).cloned().unwrap_or(Act::Stall);
                let notes = Arc::clone(&notes);
                // A client that goes away is part of the play.
                std::thread::spawn(move || play(stream, &act, &notes));
            }
        });
        Ok(Self { address, seen })
    }

    /// The address to give to a client.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The requests so far, headers and body.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An address at which nobody listens.
///
/// # Errors
/// If there is no port to try.
pub fn deserted() -> std::io::Result<String> {
    Ok(format!("http://{}/v1", TcpListener::bind("127.0.0.1:0")?.local_addr()?))
}

/// The data of an event that adds `text`.
#[must_use]
pub fn piece(text: &str) -> String {
    json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}).to_string()
}

/// The data of the events that end a stream.
#[must_use]
pub fn ending() -> Vec<String> {
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 3});
    vec![
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}).to_string(),
        json!({"choices": [], "usage": usage}).to_string(),
        "[DONE]".into(),
    ]
}

/// The body of a reply with this text.
#[must_use]
pub fn body(text: &str) -> String {
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 3});
    json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": usage}).to_string()
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

fn play(mut stream: TcpStream, act: &Act, notes: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let request = read_request(&mut stream)?;
    let streams = request.contains("\"stream\":true");
    notes.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let event = |data: &String| format!("data: {data}\n\n");
    match act {
        Act::Say(text) if streams => {
            let pieces = text.chars().map(|c| piece(&c.to_string())).chain(ending());
            stream.write_all(STREAM.as_bytes())?;
            pieces.map(|data| event(&data)).try_for_each(|data| stream.write_all(data.as_bytes()))
        }
        Act::Say(text) => whole(&mut stream, 200, &[], body(text).as_bytes()),
        Act::Body(bytes) => whole(&mut stream, 200, &[], bytes),
        Act::Status(code, headers, text) => whole(&mut stream, *code, headers, text.as_bytes()),
        Act::Events(events) => {
            stream.write_all(STREAM.as_bytes())?;
            events.iter().map(event).try_for_each(|data| stream.write_all(data.as_bytes()))
        }
        Act::Stall => wait_for_the_end(stream),
        Act::StallAfter(events) => {
            stream.write_all(STREAM.as_bytes())?;
            events.iter().map(event).try_for_each(|data| stream.write_all(data.as_bytes()))?;
            wait_for_the_end(stream)
        }
        Act::Cut => {
            let body = body("never heard");
            let head = head(200, &[], body.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body.as_bytes()[..body.len() / 2])
        }
        Act::Repeat(data, times) => {
            stream.write_all(STREAM.as_bytes())?;
            (0..*times).try_for_each(|_| stream.write_all(event(data).as_bytes()))
        }
        Act::Flood => {
            stream.write_all(STREAM.as_bytes())?;
            loop {
                stream.write_all(&[b'x'; 1 << 16])?;
            }
        }
        Act::Garbage => stream.write_all(&[0xff, 0x00, 0x13, b'\n', 0xfe, b'\r', b'\n', b'\r', b'\n']),
        Act::Drip(text, pause) => {
            let body = body(text);
            stream.write_all(head(200, &[], body.len()).as_bytes())?;
            for byte in body.as_bytes() {
                std::thread::sleep(*pause);
                stream.write_all(&[*byte])?;
            }
            Ok(())
        }
    }
}

fn head(code: u16, headers: &[String], length: usize) -> String {
    let further: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!(
        "HTTP/1.1 {code} Status\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n{further}\r\n"
    )
}

fn whole(stream: &mut TcpStream, code: u16, headers: &[String], body: &[u8]) -> std::io::Result<()> {
    stream.write_all(head(code, headers, body.len()).as_bytes())?;
    stream.write_all(body)
}

/// Holds the connection until the client gives up.
fn wait_for_the_end(mut stream: TcpStream) -> std::io::Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {}
    Ok(())
}

/// Reads a request to the end of its body: closing before that would reset the connection.
fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Ok(text.into_owned());
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}
