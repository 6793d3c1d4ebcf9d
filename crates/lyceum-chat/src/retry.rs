//! How long to wait before another attempt.

use std::time::{Duration, SystemTime};

use lyceum_stats::{Draw, Purpose};
use rand::Rng;

/// First wait.
const BASE: Duration = Duration::from_millis(250);
/// Longest wait that is chosen here.
const LONGEST: Duration = Duration::from_secs(30);

/// The wait before attempt `attempt` (from 1): twice as long each time, the upper half of it drawn. The draw belongs to the seed,
/// the call and the attempt, so that it is the same in every run, whatever else is asked at the time.
pub(crate) fn backoff(seed: u64, call: u64, attempt: u32) -> Duration {
    let whole = BASE.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST);
    let draw = Draw { seed, step: call, prompt: 0, sample: u64::from(attempt) };
    whole.mul_f64(0.5 + 0.5 * draw.rng(Purpose::Retry).random::<f64>())
}

/// Reads the header `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let then = SystemTime::try_from(date.timestamp()).ok()?;
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_belong_to_their_place() {
        let waits: Vec<Duration> = (1..12).map(|attempt| backoff(1, 2, attempt)).collect();
        for (i, wait) in waits.iter().enumerate() {
            let whole = BASE.saturating_mul(1 << i).min(LONGEST);
            assert!(*wait >= whole / 2 && *wait <= whole, "{i}: {wait:?}");
        }
        assert_eq!(backoff(1, 2, 3), backoff(1, 2, 3));
        assert_ne!(backoff(1, 2, 3), backoff(2, 2, 3));
        assert_ne!(backoff(1, 2, 3), backoff(1, 3, 3));
        assert!(backoff(1, 2, u32::MAX) <= LONGEST);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_470);
        let of = |value| retry_after(value, now);
        assert_eq!(of("3"), Some(Duration::from_secs(3)));
        assert_eq!(of(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(of("Wed, 21 Oct 2014 07:28:00 GMT"), None, "the weekday is wrong");
        assert_eq!(of("Tue, 21 Oct 2014 07:28:00 GMT"), Some(Duration::ZERO));
        for bad in ["-1", "inf", "NaN", "soon", "1e300", ""] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
