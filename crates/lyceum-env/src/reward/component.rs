//! One named score, or the reason why there is none.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The values a component may take, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
}

impl Range {
    /// Zero to one: what most components use.
    pub const UNIT: Self = Self { low: 0.0, high: 1.0 };

    /// Whether `value` is a number in the range.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Why a component has no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No answer before the deadline.
    Deadline,
    /// The scoring process ended, or could not be started.
    Died,
    /// The answer is not in the agreed form.
    Garbage,
    /// The answer is NaN or infinite.
    NotFinite,
    /// The answer is a number outside the component's range.
    OutOfRange,
    /// A component that the recipe combines was not scored by anyone.
    Missing,
}

/// A score that could not be had: data to be counted and shown, never a crash and never a NaN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What sort of failure, for counting.
    pub kind: FailureKind,
    /// What happened, for reading.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// One named component of a completion's reward.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Its name in recipes, metrics and traces: `correct`, `format`, `length`, ...
    pub name: Cow<'static, str>,
    /// The values it may take.
    pub range: Range,
    /// Its value within the range, or why there is none.
    pub score: Result<f64, Failure>,
}

impl Component {
    /// A component between 0 and 1.
    #[must_use]
    pub fn unit(name: &'static str, score: f64) -> Self {
        Self::checked(Cow::Borrowed(name), Range::UNIT, score)
    }

    /// A component that holds or does not.
    #[must_use]
    pub fn holds(name: &'static str, holds: bool) -> Self {
        Self::unit(name, f64::from(u8::from(holds)))
    }

    /// A component from an untrusted number: NaN, infinities and values outside the range become failures.
    #[must_use]
    pub fn checked(name: Cow<'static, str>, range: Range, score: f64) -> Self {
        let score = if !score.is_finite() {
            Err(Failure::new(FailureKind::NotFinite, format!("component {name} is {score}")))
        } else if !range.contains(score) {
            Err(Failure::new(
                FailureKind::OutOfRange,
                format!("component {name} is {score}, outside [{}, {}]", range.low, range.high),
            ))
        } else {
            Ok(score)
        };
        Self { name, range, score }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_numbers_become_failures() {
        let kind = |x: f64| Component::unit("x", x).score.map_err(|f| f.kind);
        assert_eq!(kind(0.5), Ok(0.5));
        assert_eq!(kind(1.0), Ok(1.0));
        assert_eq!(kind(1.5), Err(FailureKind::OutOfRange));
        assert_eq!(kind(-0.1), Err(FailureKind::OutOfRange));
        assert_eq!(kind(f64::NAN), Err(FailureKind::NotFinite));
        assert_eq!(kind(f64::NEG_INFINITY), Err(FailureKind::NotFinite));
    }
}
