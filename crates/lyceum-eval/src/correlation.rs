//! Correlation of a metric with what people said.

/// Pearson's correlation; `None` where one side does not vary.
#[must_use]
pub fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let (mean_a, mean_b) = pairs.iter().fold((0.0, 0.0), |(a, b), pair| (a + pair.0 / n, b + pair.1 / n));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for &(a, b) in pairs {
        let (a, b) = (a - mean_a, b - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// Spearman's correlation: Pearson's of the ranks, ties at their mean rank.
///
/// ```
/// use lyceum_eval::correlation::spearman;
/// assert_eq!(spearman(&[(1.0, 1.0), (2.0, 8.0), (3.0, 27.0)]), Some(1.0));
/// assert_eq!(spearman(&[(1.0, 2.0), (2.0, 1.0)]), Some(-1.0));
/// ```
#[must_use]
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let first = ranks(pairs.iter().map(|pair| pair.0));
    let second = ranks(pairs.iter().map(|pair| pair.1));
    pearson(&first.into_iter().zip(second).collect::<Vec<_>>())
}

fn ranks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let values: Vec<f64> = values.collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for same in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (same.len() + 1) as f64 / 2.0;
        same.iter().for_each(|&index| ranks[index] = rank);
        before += same.len();
    }
    ranks
}

/// Area under the ROC curve: how often a positive scores above a negative, ties half. `None` without both.
///
/// ```
/// use lyceum_eval::correlation::area_under_roc;
/// assert_eq!(area_under_roc(&[(0.9, true), (0.5, false), (0.5, true), (0.1, false)]), Some(0.875));
/// ```
#[must_use]
pub fn area_under_roc(items: &[(f64, bool)]) -> Option<f64> {
    let ranks = ranks(items.iter().map(|item| item.0));
    let positives = items.iter().filter(|item| item.1).count() as f64;
    let negatives = items.len() as f64 - positives;
    let sum: f64 = ranks.iter().zip(items).filter(|(_, item)| item.1).map(|(rank, _)| rank).sum();
    (positives > 0.0 && negatives > 0.0)
        .then(|| (sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}
