use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The coverage of every interval.
pub const LEVEL: f64 = 0.95;

/// How an interval was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Student's t on independent values.
    StudentT,
    /// Wilson's score interval of a proportion.
    Wilson,
    /// Percentile bootstrap over groups.
    BootstrapPercentile,
    /// Bias-corrected and accelerated bootstrap over groups.
    BootstrapBca,
}

/// A mean with its 95 % interval and what it stands on.
///
/// What is undefined (a mean of nothing, an interval of one value) is NaN here, `null` in JSON and `–` in text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean (or other statistic).
    #[serde(serialize_with = "nan_to_null", deserialize_with = "null_to_nan")]
    pub mean: f64,
    /// Lower end of the interval.
    #[serde(serialize_with = "nan_to_null", deserialize_with = "null_to_nan")]
    pub low: f64,
    /// Upper end of the interval.
    #[serde(serialize_with = "nan_to_null", deserialize_with = "null_to_nan")]
    pub high: f64,
    /// Items that were scored.
    pub n: usize,
    /// Items that could not be scored and are not in the mean.
    #[serde(default)]
    pub unscored: usize,
    /// Independent groups the items fall in; `None` where every item is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
    /// How the interval was made.
    pub method: Method,
}

impl Estimate {
    /// The same estimate with more items that could not be scored.
    #[must_use]
    pub const fn with_unscored(mut self, more: usize) -> Self {
        self.unscored += more;
        self
    }

    /// Whether `value` lies in the interval. False where there is no interval.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Whether the whole interval lies above `value`: for a difference, "the first is better".
    #[must_use]
    pub fn above(&self, value: f64) -> bool {
        self.low > value
    }

    /// Whether the whole interval lies below `value`.
    #[must_use]
    pub fn below(&self, value: f64) -> bool {
        self.high < value
    }
}

/// `0.412 [0.380, 0.444] n=643`, then `(12 unscored)` where some are. Precision (default 3) and width as usual.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = f.precision().unwrap_or(3);
        let number = |value: f64| {
            if value.is_finite() { format!("{value:.precision$}") } else { "–".to_owned() }
        };
        let mut text =
            format!("{} [{}, {}] n={}", number(self.mean), number(self.low), number(self.high), self.n);
        if self.unscored > 0 {
            text += &format!(" ({} unscored)", self.unscored);
        }
        match (f.width(), f.align()) {
            (Some(width), Some(fmt::Alignment::Right)) => write!(f, "{text:>width$}"),
            (Some(width), Some(fmt::Alignment::Center)) => write!(f, "{text:^width$}"),
            (Some(width), _) => write!(f, "{text:<width$}"),
            (None, _) => f.write_str(&text),
        }
    }
}

fn nan_to_null<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    value.is_finite().then_some(*value).serialize(serializer)
}

fn null_to_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESTIMATE: Estimate = Estimate {
        mean: 0.4123,
        low: 0.38,
        high: 0.444,
        n: 643,
        unscored: 0,
        groups: None,
        method: Method::Wilson,
    };

    #[test]
    fn shown_as_mean_interval_and_count() {
        assert_eq!(ESTIMATE.to_string(), "0.412 [0.380, 0.444] n=643");
        assert_eq!(ESTIMATE.with_unscored(2).to_string(), "0.412 [0.380, 0.444] n=643 (2 unscored)");
        assert_eq!(format!("{ESTIMATE:.1}"), "0.4 [0.4, 0.4] n=643");
        assert_eq!(format!("{ESTIMATE:>30}|"), "    0.412 [0.380, 0.444] n=643|");
        assert_eq!(format!("{ESTIMATE:30}|"), "0.412 [0.380, 0.444] n=643    |");
        let nothing =
            Estimate { mean: f64::NAN, low: f64::NAN, high: f64::NAN, n: 0, unscored: 3, ..ESTIMATE };
        assert_eq!(nothing.to_string(), "– [–, –] n=0 (3 unscored)");
        assert!(!nothing.contains(0.0) && !nothing.above(0.0) && !nothing.below(0.0));
    }

    #[test]
    fn survives_json_even_when_undefined() {
        let json = serde_json::to_string(&ESTIMATE).unwrap();
        assert_eq!(json, r#"{"mean":0.4123,"low":0.38,"high":0.444,"n":643,"unscored":0,"method":"wilson"}"#);
        assert_eq!(serde_json::from_str::<Estimate>(&json).unwrap(), ESTIMATE);
        let nothing = Estimate { low: f64::NAN, ..ESTIMATE };
        let back: Estimate = serde_json::from_str(&serde_json::to_string(&nothing).unwrap()).unwrap();
        assert!(back.low.is_nan() && back.high == ESTIMATE.high);
    }

    #[test]
    fn sides() {
        assert!(ESTIMATE.contains(0.4) && ESTIMATE.above(0.3) && ESTIMATE.below(0.5));
        assert!(!ESTIMATE.above(0.38) && !ESTIMATE.below(0.444));
    }
}
