//! Rewards for few calls of tools (OTC, arXiv 2504.14870): the component `efficiency`.
//!
//! It is meant as a factor (`rule = "product"`): added to correctness it pays for calling nothing and being wrong.

use std::collections::BTreeMap;
use std::f64::consts::{FRAC_PI_2, PI};

use lyceum_trace::{Score, Trace};
use serde::{Deserialize, Serialize};

/// The component's name.
pub const EFFICIENCY: &str = "efficiency";

/// The recipe's table `reward.efficiency`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EfficiencySpec {
    /// What a sample's number of calls is measured against.
    pub optimum: Optimum,
    /// The constant c: how slowly the reward falls with calls. The paper sets it to the most calls allowed.
    pub smoothing: f64,
    /// Whether a group's own samples count before it is scored. The paper leaves it open.
    pub order: Order,
    /// Right samples with at most so many calls that a problem needs before that number counts: 1 is the paper's;
    /// 2 keeps one lucky guess from deciding for good.
    pub witnesses: usize,
}

impl Default for EfficiencySpec {
    fn default() -> Self {
        Self { optimum: Optimum::Run, smoothing: 4.0, order: Order::UpdateFirst, witnesses: 1 }
    }
}

/// What the fewest calls of a problem are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimum {
    /// Nothing: every call costs (OTC-PPO).
    None,
    /// The right samples of the group (OTC-GRPO, local).
    Group,
    /// All right samples of the run: never rises again (OTC-GRPO, global; what the paper used).
    Run,
}

/// When a group's own samples count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Before it is scored: no right sample has fewer calls than the optimum.
    UpdateFirst,
    /// After: a right sample with fewer calls than were known is scored below one with as many.
    ScoreFirst,
}

/// The fewest calls that problems were solved with, by problem.
pub type Fewest = BTreeMap<String, u64>;

/// The reward of `calls` without a known optimum: cos(m pi / (2m + c)).
///
/// ```
/// use lyceum_env::reward::without_optimum;
/// let rounded: Vec<f64> = (0..6).map(|m| (1e3 * without_optimum(m, 3.0)).round() / 1e3).collect();
/// assert_eq!(rounded, [1.0, 0.809, 0.623, 0.5, 0.415, 0.355]);
/// ```
#[must_use]
pub fn without_optimum(calls: u64, smoothing: f64) -> f64 {
    let calls = calls as f64;
    (calls * PI / (2.0 * calls + smoothing)).cos()
}

/// The reward of `calls` where `optimum` are needed: 1 there and less on both sides.
///
/// ```
/// use lyceum_env::reward::with_optimum;
/// let rounded = |n| -> Vec<f64> { (0..6).map(|m| (1e3 * with_optimum(m, n, 4.0)).round() / 1e3).collect() };
/// assert_eq!(rounded(0), [1.0, 0.866, 0.707, 0.588, 0.5, 0.434]);
/// assert_eq!(rounded(2), [0.0, 0.866, 1.0, 0.951, 0.866, 0.782]);
/// ```
#[must_use]
pub fn with_optimum(calls: u64, optimum: u64, smoothing: f64) -> f64 {
    if optimum == 0 {
        return without_optimum(calls, smoothing);
    }
    let (m, n) = (calls as f64, optimum as f64);
    let folded = 2.0 * n * m / (m + n);
    (folded * FRAC_PI_2 / n).sin()
}

impl EfficiencySpec {
    /// Puts the component on the traces of a group, samples of one problem, and learns from them.
    pub fn score(&self, group: &mut [Trace], fewest: &mut Fewest) {
        let Some(problem) = group.first().map(|trace| trace.problem.id.clone()) else { return };
        let own = self.fewest_of(group);
        let known = fewest.get(&problem).copied();
        let both = known.into_iter().chain(own).min();
        let optimum = match (self.optimum, self.order) {
            (Optimum::Group, _) => own,
            (_, Order::UpdateFirst) => both,
            // A problem that was never solved before has nothing else to go by.
            (_, Order::ScoreFirst) => known.or(own),
        };
        for trace in group {
            let calls = trace.cost.tool_calls;
            let value = match (self.optimum, optimum) {
                (Optimum::None, _) => without_optimum(calls, self.smoothing),
                (_, Some(optimum)) => with_optimum(calls, optimum, self.smoothing),
                // Nobody was right: there is no optimum, and nothing to pay.
                (_, None) => 0.0,
            };
            trace.rewards.insert(EFFICIENCY.to_owned(), Score::of(value));
        }
        if let Some(both) = both {
            fewest.insert(problem, both);
        }
    }

    /// The fewest calls with which enough samples of the group are right.
    fn fewest_of(&self, group: &[Trace]) -> Option<u64> {
        let is_right = |trace: &&Trace| trace.rewards.get("correct").and_then(Score::value) == Some(1.0);
        let mut calls: Vec<u64> = group.iter().filter(is_right).map(|trace| trace.cost.tool_calls).collect();
        calls.sort_unstable();
        calls.get(self.witnesses.max(1) - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use lyceum_trace::Problem;
    use proptest::prelude::*;

    use super::*;

    fn group(samples: &[(u64, bool)]) -> Vec<Trace> {
        let trace = |&(calls, right): &(u64, bool)| {
            let mut trace = Trace::new("t", "facts", Problem { id: "p".into(), ..Problem::default() });
            trace.cost.tool_calls = calls;
            trace.rewards.insert("correct".into(), Score::of(f64::from(u8::from(right))));
            trace
        };
        samples.iter().map(trace).collect()
    }

    fn scores(spec: EfficiencySpec, samples: &[(u64, bool)], fewest: &mut Fewest) -> Vec<f64> {
        let mut group = group(samples);
        spec.score(&mut group, fewest);
        group.iter().map(|trace| (1e3 * trace.rewards[EFFICIENCY].value().unwrap()).round() / 1e3).collect()
    }

    #[test]
    fn the_papers_table() {
        let row = |n| -> Vec<f64> { (0..6).map(|m| (1e3 * with_optimum(m, n, 4.0)).round() / 1e3).collect() };
        assert_eq!(row(1), [0.0, 1.0, 0.866, 0.707, 0.588, 0.5]);
        assert_eq!(row(3), [0.0, 0.707, 0.951, 1.0, 0.975, 0.924]);
    }

    #[test]
    fn the_optimum_is_that_of_right_samples_and_never_rises() {
        let spec = EfficiencySpec::default();
        let mut fewest = Fewest::new();
        assert_eq!(scores(spec, &[(0, false), (1, false)], &mut fewest), [0.0, 0.0]);
        assert!(fewest.is_empty());
        assert_eq!(scores(spec, &[(0, false), (2, true), (3, true)], &mut fewest), [0.0, 1.0, 0.951]);
        assert_eq!(scores(spec, &[(1, true), (2, true)], &mut fewest), [1.0, 0.866]);
        // Nobody needs one call alone this time; the run remembers that it can be done.
        assert_eq!(scores(spec, &[(2, true), (0, false)], &mut fewest), [0.866, 0.0]);
        let local = EfficiencySpec { optimum: Optimum::Group, ..spec };
        assert_eq!(scores(local, &[(2, true), (0, false)], &mut fewest), [1.0, 0.0]);
        assert_eq!(fewest["p"], 1);
    }

    #[test]
    fn order_and_witnesses() {
        let after = EfficiencySpec { order: Order::ScoreFirst, ..EfficiencySpec::default() };
        let mut fewest = Fewest::from([("p".into(), 2)]);
        assert_eq!(scores(after, &[(1, true), (2, true)], &mut fewest), [0.866, 1.0]);
        assert_eq!(scores(after, &[(1, true), (2, true)], &mut fewest), [1.0, 0.866]);
        let two = EfficiencySpec { witnesses: 2, ..EfficiencySpec::default() };
        let mut fewest = Fewest::new();
        assert_eq!(scores(two, &[(0, true), (1, true), (1, true)], &mut fewest), [0.0, 1.0, 1.0]);
        assert_eq!(fewest["p"], 1);
        assert_eq!(
            scores(EfficiencySpec { optimum: Optimum::None, ..two }, &[(0, false)], &mut fewest),
            [1.0]
        );
    }

    proptest! {
        #[test]
        fn at_its_most_where_calls_are_the_optimum(calls in 0u64..40, optimum in 0u64..20, c in 0.5f64..10.0) {
            let value = with_optimum(calls, optimum, c);
            prop_assert!((-1e-12..=1.0 + 1e-12).contains(&value));
            prop_assert!(value < 1.0 || calls == optimum);
            prop_assert!((with_optimum(optimum, optimum, c) - 1.0).abs() < 1e-12);
        }
    }
}
