//! One ranking out of several.

use std::collections::BTreeMap;

/// Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): the sum of 1 / (60 + rank) over the rankings that have it.
///
/// ```
/// use lyceum_retrieve::fusion::reciprocal_rank;
/// let fused = reciprocal_rank(&[vec!["a", "b"], vec!["b", "c"]]);
/// assert_eq!(fused[0].0, "b");
/// assert_eq!(fused[1], ("a", 1.0 / 61.0));
/// ```
#[must_use]
pub fn reciprocal_rank<K: Ord + Clone>(rankings: &[Vec<K>]) -> Vec<(K, f64)> {
    let mut scores = BTreeMap::<K, f64>::new();
    for ranking in rankings {
        for (index, key) in ranking.iter().enumerate() {
            *scores.entry(key.clone()).or_default() += 1.0 / (61 + index) as f64;
        }
    }
    sorted(scores)
}

/// The weighted sum of scores, each ranking's brought to 0 to 1 first; what a ranking lacks counts 0 there.
///
/// ```
/// use lyceum_retrieve::fusion::weighted;
/// let fused = weighted(&[(0.75, vec![("a", 3.0), ("b", 1.0)]), (0.25, vec![("b", 0.9), ("c", 0.1)])]);
/// assert_eq!(fused, [("a", 0.75), ("b", 0.25), ("c", 0.0)]);
/// ```
#[must_use]
pub fn weighted<K: Ord + Clone>(rankings: &[(f64, Vec<(K, f64)>)]) -> Vec<(K, f64)> {
    let mut scores = BTreeMap::<K, f64>::new();
    for (weight, ranking) in rankings {
        let values = || ranking.iter().map(|(_, score)| *score);
        let (low, high) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        for (key, score) in ranking {
            // All scores equal: each is as good as the best.
            let share = if high > low { (score - low) / (high - low) } else { 1.0 };
            *scores.entry(key.clone()).or_default() += weight * share;
        }
    }
    sorted(scores)
}

/// Best first; equal scores in the order of their keys.
fn sorted<K: Ord>(scores: BTreeMap<K, f64>) -> Vec<(K, f64)> {
    let mut all: Vec<(K, f64)> = scores.into_iter().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn better_ranks_never_hurt(keys in prop::collection::hash_set(0u32..50, 2..20), at in 1usize..19) {
            let ranking: Vec<u32> = keys.into_iter().collect();
            let at = at % ranking.len();
            prop_assume!(at > 0);
            let score = |fused: &[(u32, f64)], key| fused.iter().find(|(k, _)| *k == key).unwrap().1;
            let other: Vec<u32> = ranking.iter().rev().copied().collect();
            let before = reciprocal_rank(&[ranking.clone(), other.clone()]);
            let (key, mut moved) = (ranking[at], ranking.clone());
            moved.swap(at, at - 1);
            let after = reciprocal_rank(&[moved, other]);
            prop_assert!(score(&after, key) > score(&before, key));
        }
    }
}
