//! One score out of several views: by hand, as a product, or learned from judgements.

use serde::{Deserialize, Serialize};

use super::views::Views;

/// How views become one score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "weights", rename_all = "kebab-case")]
pub enum Mixer {
    /// The weighted sum of the body (Eq. 7).
    Linear(Views),
    /// The weighted product of Eq. 1, as a sum of logarithms.
    LogLinear(Views),
}

/// The paper's weights for inquiry and policy: relevance and utility .35 each, the others .1; commonality, ours, 0.
pub const PAPER: Views = [0.35, 0.35, 0.1, 0.1, 0.1, 0.0];

/// Weights without a view.
#[must_use]
pub fn without(mut weights: Views, view: usize) -> Views {
    weights[view] = 0.0;
    weights
}

/// The least that a view counts in a product: nothing is impossible for one view's sake.
const FLOOR: f64 = 0.01;

/// A document's score.
///
/// ```
/// use lyceum_reason::polyrag::{Mixer, PAPER, mix};
/// let views = [1.0, 0.5, 0.0, 1.0, 0.25, 0.0];
/// assert!((mix(Mixer::Linear(PAPER), &views) - 0.65).abs() < 1e-12);
/// assert_eq!(mix(Mixer::LogLinear([1.0, 0.0, 0.0, 0.0, 0.0, 0.0]), &views), 0.0);
/// ```
#[must_use]
pub fn mix(mixer: Mixer, views: &Views) -> f64 {
    match mixer {
        Mixer::Linear(weights) => weights.iter().zip(views).map(|(weight, view)| weight * view).sum(),
        Mixer::LogLinear(weights) => {
            weights.iter().zip(views).map(|(weight, view)| weight * view.max(FLOOR).ln()).sum()
        }
    }
}

/// Weights of a linear mixer by pairwise logistic regression: in every question each relevant document is to score above each
/// other one. Gradient descent from the paper's weights; a question counts once, however many pairs it has.
#[must_use]
pub fn learn(questions: &[(Vec<Views>, Vec<bool>)]) -> Views {
    let mut weights = PAPER;
    let pairs: Vec<Vec<Views>> = questions
        .iter()
        .map(|(views, relevant)| {
            let of = |wanted: bool| {
                views.iter().zip(relevant).filter(move |(_, is)| **is == wanted).map(|(v, _)| v)
            };
            of(true).flat_map(|good| of(false).map(|bad| std::array::from_fn(|i| good[i] - bad[i]))).collect()
        })
        .filter(|pairs: &Vec<Views>| !pairs.is_empty())
        .collect();
    const STEPS: usize = 500;
    const RATE: f64 = 2.0;
    // Pulls towards 0: views that never differ stay without weight.
    const DECAY: f64 = 1e-3;
    for _ in 0..STEPS {
        let mut gradient = [0.0; 6];
        for differences in &pairs {
            for difference in differences {
                let margin: f64 = weights.iter().zip(difference).map(|(w, d)| w * d).sum();
                let slope = 1.0 / (1.0 + margin.exp()) / (differences.len() * pairs.len()) as f64;
                gradient.iter_mut().zip(difference).for_each(|(g, d)| *g += slope * d);
            }
        }
        weights.iter_mut().zip(gradient).for_each(|(w, g)| *w += RATE * (g - DECAY * *w));
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_that_tells_is_learned() {
        // Timeliness tells which is right; relevance says nothing.
        let question = |fresh: f64| {
            let views = vec![[0.5, 0.5, 0.0, 0.5, fresh, 0.0], [0.6, 0.5, 0.0, 0.5, 0.1, 0.0]];
            (views, vec![true, false])
        };
        let weights = learn(&[question(0.9), question(0.7)]);
        assert!(weights[4] > 1.0 && weights[4] > weights[0] + 0.5, "{weights:?}");
    }
}
