//! One attempt at an endpoint: a request over HTTP, and its reply whole or as a stream.

use std::io::Read;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Timeout, http::Response};

use crate::key::Key;
use crate::retry::retry_after;
use crate::wire::{Assembly, Sse, error_text, reply_of_body};
use crate::{ChatReply, Delta, Fault, Limits};

/// Longest error message that is read, in bytes.
const LONGEST_COMPLAINT: u64 = 64 << 10;
/// How long a connection may take; a server that is there accepts at once.
const CONNECT: Duration = Duration::from_secs(10);

/// An address that is posted to.
#[derive(Debug)]
pub(crate) struct Transport {
    agent: Agent,
    url: String,
    key: Option<Key>,
    limits: Limits,
}

impl Transport {
    pub(crate) fn new(url: String, key: Option<Key>, limits: Limits) -> Self {
        let config = Agent::config_builder()
            // A redirection would carry the conversation and the key elsewhere: it is reported instead.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT.min(limits.attempt)))
            .user_agent(concat!("lyceum/", env!("CARGO_PKG_VERSION")))
            // The system's certificates: those of a company's proxy are among them where there is one.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build();
        Self { agent: config.into(), url, key, limits }
    }

    /// Posts a body and reads the reply, all within `patience`. `observe` sees a stream grow.
    pub(crate) fn post(
        &self,
        body: &Value,
        stream: bool,
        patience: Duration,
        observe: &mut dyn FnMut(Delta<'_>),
    ) -> Result<ChatReply, Fault> {
        let begin = Instant::now();
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", key.bearer());
        }
        let config = request.config().timeout_global(Some(patience));
        // A stream's server answers at once and then must not fall silent; a whole reply comes after a long silence.
        let config = if stream {
            config.timeout_per_read(Some(self.limits.between_chunks.min(patience)))
        } else {
            config
        };
        let request = config.build();
        let sent = request.send(body.to_string());
        let mut response = sent.map_err(|error| self.fault(&error, patience))?;
        if !response.status().is_success() {
            return Err(self.refusal(&mut response));
        }
        let kind = response.headers().get("Content-Type").and_then(|kind| kind.to_str().ok()).unwrap_or("");
        // A server may know no streams and send the whole.
        let streams =
            kind.starts_with("text/event-stream") || (stream && !kind.starts_with("application/json"));
        let reader = response.body_mut().as_reader();
        let mut pieces = Pieces { reader, patience, begin, transport: self };
        if streams { pieces.stream(observe) } else { pieces.whole(observe) }
    }

    /// A status that is no success.
    fn refusal(&self, response: &mut Response<Body>) -> Fault {
        let header = response.headers().get("Retry-After").and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(|value| retry_after(value, SystemTime::now()));
        let mut said = Vec::new();
        // Best effort: the status alone tells enough.
        let _ = response.body_mut().as_reader().take(LONGEST_COMPLAINT).read_to_end(&mut said);
        let said = self.hide(&error_text(&said));
        Fault::Status { code: response.status().as_u16(), said, retry_after }
    }

    fn fault(&self, error: &ureq::Error, patience: Duration) -> Fault {
        match error {
            ureq::Error::Timeout(kind) => self.deadline(*kind, patience),
            ureq::Error::Io(io) => self.io_fault(io, patience),
            other => Fault::Connection(self.hide(&other.to_string())),
        }
    }

    fn io_fault(&self, error: &std::io::Error, patience: Duration) -> Fault {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
            Some(ureq::Error::Timeout(kind)) => self.deadline(*kind, patience),
            _ if error.kind() == std::io::ErrorKind::TimedOut => self.deadline(Timeout::Global, patience),
            _ if error.kind() == std::io::ErrorKind::UnexpectedEof => Fault::Cut,
            _ => Fault::Connection(self.hide(&error.to_string())),
        }
    }

    fn deadline(&self, kind: Timeout, patience: Duration) -> Fault {
        match kind {
            Timeout::Global => Fault::Deadline { what: "whole reply", limit: patience },
            Timeout::Connect => {
                Fault::Deadline { what: "connection", limit: CONNECT.min(self.limits.attempt) }
            }
            _ => Fault::Deadline {
                what: "next piece of the reply",
                limit: self.limits.between_chunks.min(patience),
            },
        }
    }

    fn hide(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.hide(text))
    }
}

/// The body of a reply, piece by piece.
struct Pieces<'t, R> {
    reader: R,
    begin: Instant,
    patience: Duration,
    transport: &'t Transport,
}

impl<R: Read> Pieces<'_, R> {
    fn whole(&mut self, observe: &mut dyn FnMut(Delta<'_>)) -> Result<ChatReply, Fault> {
        let limit = self.transport.limits.bytes;
        let mut body = Vec::new();
        let mut buffer = [0; 16 << 10];
        loop {
            match self.read(&mut buffer)? {
                0 => break,
                n => body.extend_from_slice(&buffer[..n]),
            }
            if body.len() > limit {
                return Err(Fault::Flood { limit, of: "bytes" });
            }
        }
        let reply = reply_of_body(&body).map_err(|fault| self.clean(fault))?;
        if let Some(reasoning) = &reply.reasoning {
            observe(Delta::Reasoning(reasoning));
        }
        observe(Delta::Text(&reply.text));
        Ok(reply)
    }

    fn stream(&mut self, observe: &mut dyn FnMut(Delta<'_>)) -> Result<ChatReply, Fault> {
        let (mut sse, mut assembly) = (Sse::new(&self.transport.limits), Assembly::default());
        let mut buffer = [0; 16 << 10];
        let mut events = Vec::new();
        let mut open = true;
        while open && !assembly.is_done() {
            match self.read(&mut buffer)? {
                0 => {
                    open = false;
                    sse.finish(&mut events)?;
                }
                n => sse.push(&buffer[..n], &mut events)?,
            }
            for event in events.drain(..) {
                assembly.take(&event, observe).map_err(|fault| self.clean(fault))?;
            }
        }
        assembly.finish()
    }

    /// The next bytes. The whole deadline is looked at here too: a server that drips must not outlast it.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        if self.begin.elapsed() > self.patience {
            return Err(self.transport.deadline(Timeout::Global, self.patience));
        }
        self.reader.read(buffer).map_err(|error| self.transport.io_fault(&error, self.patience))
    }

    fn clean(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Garbled(text) => Fault::Garbled(self.transport.hide(&text)),
            other => other,
        }
    }
}
