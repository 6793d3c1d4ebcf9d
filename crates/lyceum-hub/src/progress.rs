//! How a caller hears about downloads.

use std::path::Path;

/// Something that happened while fetching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A download begins.
    Begin {
        /// The model's, data set's or file's name.
        what: &'a str,
        /// Where it comes from, for people.
        from: &'a str,
        /// Bytes to come, if known.
        total: Option<u64>,
    },
    /// Bytes of it here so far.
    Bytes(u64),
    /// It is complete and verified.
    Done {
        /// Where it is now.
        path: &'a Path,
    },
}

/// Told what happens while something is fetched. Any `Fn(Event)` is one.
pub trait Progress {
    /// Called with each event, in order, from one thread.
    fn event(&self, event: Event<'_>);
}

impl<F: Fn(Event<'_>)> Progress for F {
    fn event(&self, event: Event<'_>) {
        self(event);
    }
}

/// Shows nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
