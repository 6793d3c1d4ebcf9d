//! The topics of some documents, and choosing so that they are covered.

use lyceum_retrieve::embed::cosine;

/// Topics by DBSCAN (Ester et al. 1996) on cosine distance: a number for each vector. What is near to nothing is a topic of its
/// own. `radius` is the greatest distance of neighbours; two make a core.
///
/// ```
/// use lyceum_reason::polyrag::topics;
/// let vectors: [&[f32]; 4] = [&[1.0, 0.0], &[0.0, 1.0], &[0.96, 0.28], &[-1.0, 0.0]];
/// assert_eq!(topics(&vectors, 0.1), [0, 1, 0, 2]);
/// ```
#[must_use]
pub fn topics(vectors: &[&[f32]], radius: f32) -> Vec<usize> {
    let mut topic = vec![usize::MAX; vectors.len()];
    let mut count = 0;
    for first in 0..vectors.len() {
        if topic[first] != usize::MAX {
            continue;
        }
        topic[first] = count;
        let mut reached = vec![first];
        while let Some(at) = reached.pop() {
            for other in 0..vectors.len() {
                if topic[other] == usize::MAX && 1.0 - cosine(vectors[at], vectors[other]) <= radius {
                    topic[other] = count;
                    reached.push(other);
                }
            }
        }
        count += 1;
    }
    topic
}

/// The `k` best documents such that no topic has more than its share while others wait (Eq. 8; the procedure is ours): by
/// score, at most ceil(k / topics) a topic; what room is left goes to the best of the rest.
///
/// ```
/// use lyceum_reason::polyrag::select;
/// assert_eq!(select(&[0.9, 0.8, 0.7, 0.1], &[0, 0, 0, 1], 2), [0, 3]);
/// assert_eq!(select(&[0.9, 0.8, 0.7], &[0, 0, 0], 2), [0, 1]);
/// ```
#[must_use]
pub fn select(scores: &[f64], topics: &[usize], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let count = topics.iter().max().map_or(1, |most| most + 1);
    let quota = k.div_ceil(count);
    let mut taken = vec![0; count];
    let (mut chosen, mut rest) = (Vec::new(), Vec::new());
    for at in order {
        if chosen.len() < k && taken[topics[at]] < quota {
            taken[topics[at]] += 1;
            chosen.push(at);
        } else {
            rest.push(at);
        }
    }
    chosen.extend(rest.into_iter().take(k.saturating_sub(chosen.len())));
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_choice_is_k_different_ones(items in prop::collection::vec((0.0f64..1.0, 0usize..4), 1..20), k in 1usize..8) {
            let (scores, raw): (Vec<f64>, Vec<usize>) = items.into_iter().unzip();
            let mut chosen = select(&scores, &raw, k);
            prop_assert_eq!(chosen.len(), k.min(scores.len()));
            chosen.sort_unstable();
            chosen.dedup();
            prop_assert_eq!(chosen.len(), k.min(scores.len()));
        }
    }
}
