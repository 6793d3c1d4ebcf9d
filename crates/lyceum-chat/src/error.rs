//! Errors, by the border at which they arise.

use std::path::PathBuf;
use std::time::Duration;

/// Why a chat model gave no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request that makes no sense.
    #[error("{0}")]
    Request(String),
    /// The local engine.
    #[error(transparent)]
    Engine(#[from] lyceum_engine::Error),
    /// What this model can't do.
    #[error("{model} can't {what}; {remedy}")]
    Unsupported {
        /// The model.
        model: String,
        /// What was asked.
        what: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// An endpoint that can't be set up.
    #[error("endpoint {url}: {problem}")]
    Settings {
        /// Its address.
        url: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// An endpoint that was asked in vain.
    #[error("{url} failed {}: {fault}", times(*attempts))]
    Endpoint {
        /// Its address.
        url: String,
        /// How often it was asked.
        attempts: u32,
        /// What went wrong the last time.
        fault: Fault,
    },
    /// A budget that is spent.
    #[error(
        "the budget has {left} tokens left and the call asks for {asked}; raise the budget or make fewer or shorter calls"
    )]
    Budget {
        /// Tokens asked for.
        asked: u64,
        /// Tokens left.
        left: u64,
    },
    /// A cache that can't be written.
    #[error("cannot write {path} in the cache of replies: {source}; free some room or name another folder")]
    Cache {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

/// What went wrong in one attempt at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No connection, or one that broke.
    #[error("{0} (is the server running at this address?)")]
    Connection(String),
    /// A status other than success.
    #[error("status {code}{}; {}", said_after(said), advice(*code))]
    Status {
        /// The status.
        code: u16,
        /// The beginning of what the server said.
        said: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// Something took too long.
    #[error("no {what} within {:.1} s; give it a longer deadline or a lighter load", limit.as_secs_f64())]
    Deadline {
        /// What did not come.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The reply ended before it was complete.
    #[error("the reply was cut off")]
    Cut,
    /// The reply is none.
    #[error("the reply is garbled: {0}")]
    Garbled(String),
    /// The reply is longer than is read.
    #[error("the reply is too large: more than {limit} {of}")]
    Flood {
        /// The limit.
        limit: usize,
        /// What was counted.
        of: &'static str,
    },
}

impl Fault {
    /// Whether another attempt may do better. The client's own mistakes (4xx) stay mistakes; what floods once floods again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Deadline { .. } | Self::Cut | Self::Garbled(_) => true,
            Self::Status { code, .. } => matches!(code, 408 | 429 | 500..),
            Self::Flood { .. } => false,
        }
    }
}

fn times(attempts: u32) -> String {
    if attempts == 1 { "once".into() } else { format!("{attempts} times") }
}

fn said_after(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ({said})") }
}

const fn advice(code: u16) -> &'static str {
    match code {
        300..400 => "the address points elsewhere: give the address it points to",
        401 | 403 => "name the environment variable that holds a valid key",
        404 => "check the address (it usually ends in /v1) and the model's name",
        400 | 422 => "the server refuses the request: check the profile and the parameters",
        408 | 429 => "lower the rate limits or ask fewer at once",
        413 => "the request is too long for this server",
        _ => "see the server's log",
    }
}

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
