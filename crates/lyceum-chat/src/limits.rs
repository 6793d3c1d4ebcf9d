//! How much an endpoint may send, and how long it may take.

use std::time::Duration;

/// Bounds on a call. The defaults suit a slow model that thinks for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The whole call: all attempts and the waits before and between them.
    pub call: Duration,
    /// One attempt.
    pub attempt: Duration,
    /// Between two pieces of a reply; the first may take as long as the attempt.
    pub between_chunks: Duration,
    /// Attempts at a call, at least 1.
    pub attempts: u32,
    /// Bytes of a reply.
    pub bytes: usize,
    /// Bytes of a line of a stream.
    pub line: usize,
    /// Events of a stream.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(600),
            attempt: Duration::from_secs(300),
            between_chunks: Duration::from_secs(60),
            attempts: 4,
            bytes: 16 << 20,
            line: 1 << 20,
            events: 1 << 20,
        }
    }
}
