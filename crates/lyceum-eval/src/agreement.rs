//! How far annotators agree: Cohen's kappa (scikit-learn's definition) and Krippendorff's alpha.

use std::collections::BTreeMap;

/// How far apart two of a scale's categories are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Any difference counts alike.
    Nominal,
    /// By distance.
    Linear,
    /// By squared distance.
    Quadratic,
}

impl Weights {
    fn distance(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Nominal => f64::from(u8::from(a != b)),
            Self::Linear => (a - b).abs(),
            Self::Quadratic => (a - b).powi(2),
        }
    }
}

/// Cohen's kappa of two annotators; with weights, by the positions of the categories in their order, as scikit-learn's
/// `cohen_kappa_score` has it. `None` where chance alone would agree fully.
///
/// ```
/// use lyceum_eval::agreement::{Weights, cohen_kappa};
/// let pairs = [(1, 1), (1, 0), (0, 0), (0, 0)];
/// assert_eq!(cohen_kappa(&pairs, Weights::Nominal), Some(0.5));
/// assert_eq!(cohen_kappa(&[(1, 1)], Weights::Nominal), None);
/// ```
#[must_use]
pub fn cohen_kappa(pairs: &[(i64, i64)], weights: Weights) -> Option<f64> {
    let mut categories: Vec<i64> = pairs.iter().flat_map(|&(a, b)| [a, b]).collect();
    categories.sort_unstable();
    categories.dedup();
    let place = |label: i64| categories.partition_point(|&category| category < label);
    let (mut first, mut second) = (vec![0.0; categories.len()], vec![0.0; categories.len()]);
    let mut observed = 0.0;
    for &(a, b) in pairs {
        first[place(a)] += 1.0;
        second[place(b)] += 1.0;
        observed += weights.distance(place(a) as f64, place(b) as f64);
    }
    let mut expected = 0.0;
    for (i, a) in first.iter().enumerate() {
        for (j, b) in second.iter().enumerate() {
            expected += a * b / pairs.len() as f64 * weights.distance(i as f64, j as f64);
        }
    }
    (expected > 0.0).then(|| 1.0 - observed / expected)
}

/// Krippendorff's alpha: a list of labels for each unit, as many as it has. Distances are between the labels themselves
/// ([`Weights::Quadratic`] is the interval scale). `None` where nothing can disagree.
#[must_use]
pub fn krippendorff_alpha(units: &[Vec<f64>], weights: Weights) -> Option<f64> {
    let paired: Vec<&Vec<f64>> = units.iter().filter(|unit| unit.len() > 1).collect();
    let within: f64 = paired
        .iter()
        .map(|unit| {
            let pairs = unit.iter().flat_map(|a| unit.iter().map(|b| weights.distance(*a, *b)));
            pairs.sum::<f64>() / (unit.len() - 1) as f64
        })
        .sum();
    let mut counts = BTreeMap::<u64, (f64, f64)>::new();
    for &label in paired.iter().copied().flatten() {
        counts.entry(label.to_bits()).or_insert((label, 0.0)).1 += 1.0;
    }
    let all: f64 = counts.values().map(|(_, count)| count).sum();
    let across: f64 =
        counts.values().flat_map(|a| counts.values().map(|b| a.1 * b.1 * weights.distance(a.0, b.0))).sum();
    (across > 0.0).then(|| 1.0 - (all - 1.0) * within / across)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_of_a_published_example() {
        // Krippendorff 2011, example B: two observers, nominal binary data, alpha = 0.095.
        let first = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0];
        let second = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0];
        let units: Vec<Vec<f64>> =
            first.iter().zip(second).map(|(&a, b)| vec![f64::from(a), f64::from(b)]).collect();
        let alpha = krippendorff_alpha(&units, Weights::Nominal).unwrap();
        assert!((alpha - 0.095).abs() < 5e-4, "{alpha}");
    }

    #[test]
    fn weights_forgive_near_misses() {
        let pairs = [(0, 0), (1, 1), (2, 1), (2, 2), (0, 1)];
        let kappa = |weights| cohen_kappa(&pairs, weights).unwrap();
        assert!(kappa(Weights::Quadratic) > kappa(Weights::Linear));
        assert!(kappa(Weights::Linear) > kappa(Weights::Nominal));
    }
}
