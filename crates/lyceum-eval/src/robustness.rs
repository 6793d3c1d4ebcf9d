//! Robustness to what retrieval brings, and attacks: RGB's and RECALL's rates, attack success.

use crate::claims::share;

/// Whether an answer was right without any context, and with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithAndWithout {
    /// Right without.
    pub without: bool,
    /// Right with.
    pub with: bool,
}

/// `rgb.resilience`: of what was right without context, the share that stays right with a noisy one.
#[must_use]
pub fn resilience(items: &[WithAndWithout]) -> Option<f64> {
    share(items.iter().filter(|item| item.without).map(|item| item.with))
}

/// `rgb.boost`: of what was wrong without context, the share that becomes right with retrieval.
#[must_use]
pub fn boost(items: &[WithAndWithout]) -> Option<f64> {
    share(items.iter().filter(|item| !item.without).map(|item| item.with))
}

/// `recall.misleading`: of what was right without context, the share that an edited context makes wrong.
///
/// ```
/// use lyceum_eval::robustness::{WithAndWithout, boost, misleading, resilience};
/// let items = [(true, true), (true, false), (false, true)].map(|(without, with)| WithAndWithout { without, with });
/// assert_eq!((resilience(&items), boost(&items), misleading(&items)), (Some(0.5), Some(1.0), Some(0.5)));
/// ```
#[must_use]
pub fn misleading(items: &[WithAndWithout]) -> Option<f64> {
    share(items.iter().filter(|item| item.without).map(|item| !item.with))
}

/// `recall.reappearance`: share of the edited words that stand in the answer.
///
/// ```
/// assert_eq!(lyceum_eval::robustness::reappearance("Rome, in 1999", &["1999", "Paris"]), Some(0.5));
/// ```
#[must_use]
pub fn reappearance(answer: &str, edited: &[&str]) -> Option<f64> {
    share(edited.iter().map(|word| crate::lexical::presence(answer, &[word]) == 1.0))
}

/// RGB's counterfactual rates from (error detected, then answered right): detected over all, and right over detected.
#[must_use]
pub fn counterfactual(items: &[(bool, bool)]) -> (Option<f64>, Option<f64>) {
    let detected = share(items.iter().map(|item| item.0));
    (detected, share(items.iter().filter(|item| item.0).map(|item| item.1)))
}
