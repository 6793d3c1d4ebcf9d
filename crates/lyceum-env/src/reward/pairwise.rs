//! A judge that compares two answers instead of rating them: the component `preferred`. It is what online preference
//! methods learn from; here it is made of a component that rates, with the flaw that judges of pairs have.

use lyceum_trace::{Score, Trace};
use serde::{Deserialize, Serialize};

use crate::task::keyed::share_of;

/// The component's name.
pub const PREFERRED: &str = "preferred";

/// The recipe's table `reward.pairwise`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairwiseSpec {
    /// The component that the judge goes by.
    pub of: String,
    /// Chance that it prefers the second answer whatever they are worth (DAR, arXiv 2504.14177, found such a bias). Which pairs
    /// these are depends on the traces' ids alone.
    pub second_bias: f64,
}

impl Default for PairwiseSpec {
    fn default() -> Self {
        Self { of: "score".into(), second_bias: 0.0 }
    }
}

impl PairwiseSpec {
    /// Compares samples 2i and 2i + 1 of a group: the preferred one gets 1, the other 0. Of equals either may be preferred.
    /// Where one has no score, neither has a preference.
    pub fn score(&self, group: &mut [Trace]) {
        for pair in group.chunks_exact_mut(2) {
            let value = |trace: &Trace| trace.rewards.get(&self.of).and_then(Score::value);
            let preferences = match (value(&pair[0]), value(&pair[1])) {
                (Some(first), Some(second)) => {
                    let chance = share_of(&format!("{}/{}", pair[0].problem.id, pair[0].id));
                    let even = chance > f64::midpoint(self.second_bias, 1.0);
                    let second = chance < self.second_bias || second > first || (second == first && even);
                    let holds = |holds: bool| Score::of(f64::from(u8::from(holds)));
                    [holds(!second), holds(second)]
                }
                _ => [(); 2].map(|()| Score::Failed(format!("nobody scored the component {}", self.of))),
            };
            for (trace, score) in pair.iter_mut().zip(preferences) {
                trace.rewards.insert(PREFERRED.to_owned(), score);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lyceum_trace::Problem;

    use super::*;

    fn group(scores: &[f64], id: usize) -> Vec<Trace> {
        let trace = |(at, &score): (usize, &f64)| {
            let mut trace = Trace::new(format!("s{id}-k{at}"), "compose", Problem::default());
            trace.rewards.insert("score".into(), Score::of(score));
            trace
        };
        scores.iter().enumerate().map(trace).collect()
    }

    fn preferred(spec: &PairwiseSpec, scores: &[f64], id: usize) -> Vec<Option<f64>> {
        let mut group = group(scores, id);
        spec.score(&mut group);
        group.iter().map(|trace| trace.rewards.get(PREFERRED).and_then(Score::value)).collect()
    }

    #[test]
    fn the_better_one_is_preferred_but_for_the_bias() {
        let fair = PairwiseSpec::default();
        assert_eq!(
            preferred(&fair, &[0.1, 0.2, 0.9, 0.3, 0.5], 0),
            [Some(0.0), Some(1.0), Some(1.0), Some(0.0), None]
        );
        assert_eq!(preferred(&fair, &[f64::NAN, 0.2], 0), [None, None]);
        let biased = PairwiseSpec { second_bias: 0.1, ..fair.clone() };
        let seconds = |spec: &PairwiseSpec, scores: &[f64]| {
            (0..2_000).filter(|&id| preferred(spec, scores, id)[1] == Some(1.0)).count()
        };
        assert!((140..260).contains(&seconds(&biased, &[0.9, 0.1])));
        assert!((900..1_100).contains(&seconds(&fair, &[0.5, 0.5])));
    }
}
