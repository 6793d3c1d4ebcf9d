//! One number a run.

use lyceum_run::{Points, Row};
use serde::{Deserialize, Serialize};

use crate::{Take, Within};

/// Where a run rose above all it had reached before: (step, value), both rising. All that `updates-to-reach` asks of a
/// run, whatever it is compared with.
pub type Climb = Vec<(u64, f64)>;

/// What a metric came to in one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The number; for `updates-to-reach` the last value, which other arms may be asked to reach. `None` if the run has
    /// none.
    pub value: Option<f64>,
    /// For `updates-to-reach`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub climb: Climb,
}

/// The finite values of an evaluation or metric, by step.
pub(crate) fn curve(rows: &[Row], of: &str) -> Points {
    let value = |row: &Row| row.evals.get(of).map(|estimate| estimate.mean).or(row.metrics.get(of).copied());
    let points = rows.iter().filter_map(|row| Some((row.step as f64, value(row)?)));
    points.filter(|(_, value)| value.is_finite()).collect()
}

/// The rows of a run up to a bound; rows that do not have its metric count.
#[must_use]
pub fn within<'a>(rows: &'a [Row], bound: Option<&Within>) -> &'a [Row] {
    let over =
        |bound: &Within, row: &Row| row.metrics.get(&bound.of).is_some_and(|&spent| spent > bound.most);
    let end = bound.and_then(|bound| rows.iter().position(|row| over(bound, row)));
    &rows[..end.unwrap_or(rows.len())]
}

/// Takes a metric's number from a run's rows.
#[must_use]
pub fn measure(rows: &[Row], of: &str, take: Take) -> Measured {
    let curve = curve(rows, of);
    let last = curve.last().map(|point| point.1);
    let value = match take {
        Take::Last | Take::UpdatesToReach => last,
        Take::Best => curve.iter().map(|point| point.1).max_by(f64::total_cmp),
        Take::MeanLastFifth => {
            let tail = &curve[curve.len() - curve.len().div_ceil(5)..];
            (!tail.is_empty()).then(|| tail.iter().map(|point| point.1).sum::<f64>() / tail.len() as f64)
        }
    };
    let mut climb = Climb::new();
    if take == Take::UpdatesToReach {
        for (step, value) in curve {
            if climb.last().is_none_or(|(_, highest)| value > *highest) {
                climb.push((step as u64, value));
            }
        }
    }
    Measured { value, climb }
}

/// The first step at which a run is at `target`, and whether it never is: then all its rounds.
#[must_use]
pub fn updates_to_reach(climb: &[(u64, f64)], target: f64, rounds: u64) -> (f64, bool) {
    match climb.iter().find(|(_, value)| *value >= target) {
        Some((step, _)) => (*step as f64, false),
        None => (rounds as f64, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[f64]) -> Vec<Row> {
        let row = |(step, &value): (usize, &f64)| {
            let mut row = Row::new(step as u64);
            row.set("a/b", value);
            row
        };
        values.iter().enumerate().map(row).collect()
    }

    fn value(values: &[f64], take: Take) -> Option<f64> {
        measure(&rows(values), "a/b", take).value
    }

    #[test]
    fn takes_by_hand() {
        let values = [0.0, 0.5, 0.25, f64::NAN, 1.0, 0.75];
        assert_eq!(value(&values, Take::Last), Some(0.75));
        assert_eq!(value(&values, Take::Best), Some(1.0));
        // Five finite values: the last fifth is one of them.
        assert_eq!(value(&values, Take::MeanLastFifth), Some(0.75));
        // Six: two of them.
        assert_eq!(value(&[0.0, 0.0, 0.0, 0.0, 1.0, 3.0], Take::MeanLastFifth), Some(2.0));
        for take in [Take::Last, Take::Best, Take::MeanLastFifth, Take::UpdatesToReach] {
            assert_eq!(value(&[f64::NAN], take), None, "{take:?}");
        }
        assert_eq!(measure(&rows(&values), "other", Take::Last), Measured::default());
    }

    #[test]
    fn what_cost_too_much_does_not_count() {
        let mut rows = rows(&[0.1, 0.2, 0.3]);
        rows[1].set("spent/tokens", 10.0);
        rows[2].set("spent/tokens", 20.0);
        let last = |most| {
            let bound = Within { of: "spent/tokens".into(), most };
            measure(within(&rows, Some(&bound)), "a/b", Take::Last).value
        };
        assert_eq!((last(5.0), last(10.0), last(99.0)), (Some(0.1), Some(0.2), Some(0.3)));
        assert_eq!(within(&rows, None).len(), 3);
    }

    #[test]
    fn evaluations_stand_before_metrics() {
        let mut rows = rows(&[1.0]);
        rows[0].evals.insert("a/b".into(), lyceum_stats::mean(&[0.0, 1.0]));
        assert_eq!(measure(&rows, "a/b", Take::Last).value, Some(0.5));
    }

    #[test]
    fn reaching_and_never_reaching() {
        let measured = measure(&rows(&[0.1, 0.4, 0.3, 0.4, 0.9, 0.2]), "a/b", Take::UpdatesToReach);
        assert_eq!(
            (measured.value, measured.climb.as_slice()),
            (Some(0.2), &[(0, 0.1), (1, 0.4), (4, 0.9)][..])
        );
        assert_eq!(updates_to_reach(&measured.climb, 0.4, 5), (1.0, false));
        assert_eq!(updates_to_reach(&measured.climb, 0.41, 5), (4.0, false));
        assert_eq!(updates_to_reach(&measured.climb, 0.05, 5), (0.0, false));
        assert_eq!(updates_to_reach(&measured.climb, 0.95, 5), (5.0, true));
    }
}
