//! Rate limits: so many requests and tokens in any minute.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// Counts what is sent in a window that slides: in no 60 seconds more than the limits.
#[derive(Debug, Default)]
pub struct RateLimit {
    requests: Option<u64>,
    tokens: Option<u64>,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// In order of time.
    entries: VecDeque<Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    at: Instant,
    tokens: u64,
}

/// A place in the window.
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    /// When the request may be sent.
    pub at: Instant,
    number: u64,
}

impl RateLimit {
    /// Limits of requests and of tokens a minute; `None` does not limit.
    #[must_use]
    pub fn new(requests: Option<u64>, tokens: Option<u64>) -> Self {
        Self { requests, tokens, window: Mutex::default() }
    }

    /// Reserves a place for a request of about `tokens` at the earliest moment from `now` on, after all that reserved before. One
    /// that is larger than a minute's tokens gets a minute of its own.
    pub fn reserve(&self, now: Instant, tokens: u64) -> Reservation {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let number = window.next;
        window.next += 1;
        if self.requests.is_none() && self.tokens.is_none() {
            return Reservation { at: now, number };
        }
        while window.entries.front().is_some_and(|entry| entry.at + MINUTE <= now) {
            window.entries.pop_front();
        }
        let earliest = window.entries.back().map_or(now, |last| last.at.max(now));
        let tokens = tokens.min(self.tokens.unwrap_or(u64::MAX));
        let fits = |at: Instant| {
            let (mut requests, mut sum) = (1, tokens);
            for entry in window.entries.iter().filter(|entry| entry.at + MINUTE > at) {
                requests += 1;
                sum = sum.saturating_add(entry.tokens);
            }
            requests <= self.requests.unwrap_or(u64::MAX).max(1) && sum <= self.tokens.unwrap_or(u64::MAX)
        };
        // Room appears only when an entry leaves the window.
        let leaves = window.entries.iter().map(|entry| entry.at + MINUTE).filter(|&at| at > earliest);
        let at = std::iter::once(earliest).chain(leaves).find(|&at| fits(at)).unwrap_or(earliest);
        window.entries.push_back(Entry { number, at, tokens });
        Reservation { at, number }
    }

    /// Corrects a reservation to what was used.
    pub fn settle(&self, reservation: &Reservation, used: u64) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = window.entries.iter_mut().find(|entry| entry.number == reservation.number) {
            entry.tokens = used.min(self.tokens.unwrap_or(u64::MAX));
        }
    }

    /// Gives a place back that was not used.
    pub fn release(&self, reservation: &Reservation) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.entries.retain(|entry| entry.number != reservation.number);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minute_holds_so_many() {
        let limit = RateLimit::new(Some(2), Some(100));
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(limit.reserve(now, 10).at, now);
        assert_eq!(limit.reserve(now + second, 10).at, now + second);
        assert_eq!(limit.reserve(now + 2 * second, 10).at, now + MINUTE);
        // A giant waits for an empty window; what it did not use is free again.
        let giant = limit.reserve(now + MINUTE + second, 1_000);
        assert_eq!(giant.at, now + 2 * MINUTE);
        limit.settle(&giant, 5);
        assert_eq!(limit.reserve(giant.at, 95).at, giant.at);
        limit.release(&giant);
        let free = RateLimit::new(None, None);
        assert_eq!(free.reserve(now, u64::MAX).at, now);
    }

    proptest! {
        #[test]
        fn no_window_holds_more(calls in prop::collection::vec((0u64..30, 1u64..60), 1..40)) {
            let limit = RateLimit::new(Some(3), Some(100));
            let mut now = Instant::now();
            let mut sent: Vec<(Instant, u64)> = Vec::new();
            for (pause, tokens) in calls {
                now += Duration::from_secs(pause);
                let at = limit.reserve(now, tokens).at;
                prop_assert!(at >= now);
                sent.push((at, tokens));
            }
            for &(begin, _) in &sent {
                let within = || sent.iter().filter(|(at, _)| *at >= begin && *at < begin + MINUTE);
                prop_assert!(within().count() <= 3);
                prop_assert!(within().map(|(_, tokens)| tokens).sum::<u64>() <= 100);
            }
        }
    }
}
