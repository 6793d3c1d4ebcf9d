//! Knowing when not to answer: risk, coverage and the curve between them.

/// An item: whether it was answerable (or the answer right), and whether an answer was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The question could be answered; where answers are scored, the answer is right.
    pub good: bool,
    /// An answer was given.
    pub kept: bool,
}

/// Counts and shares of a set of decisions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Abstention {
    /// Share of the kept that should not have been: UK / (AK + UK).
    pub risk: Option<f64>,
    /// Share of what could not be answered that was left unanswered: UD / (UK + UD).
    pub carefulness: Option<f64>,
    /// Share of right decisions: (AK + UD) / all.
    pub alignment: Option<f64>,
    /// Share that was answered: (AK + UK) / all.
    pub coverage: Option<f64>,
}

/// The four shares.
///
/// ```
/// use lyceum_eval::abstention::{Decision, abstention};
/// let items = [(true, true), (true, false), (false, true), (false, false), (false, false)];
/// let found = abstention(&items.map(|(good, kept)| Decision { good, kept }));
/// assert_eq!((found.risk, found.carefulness), (Some(0.5), Some(2.0 / 3.0)));
/// assert_eq!((found.alignment, found.coverage), (Some(0.6), Some(0.4)));
/// ```
#[must_use]
pub fn abstention(items: &[Decision]) -> Abstention {
    let share = |from: &dyn Fn(&Decision) -> bool, what: &dyn Fn(&Decision) -> bool| {
        crate::claims::share(items.iter().filter(|item| from(item)).map(what))
    };
    Abstention {
        risk: share(&|item| item.kept, &|item| !item.good),
        carefulness: share(&|item| !item.good, &|item| !item.kept),
        alignment: share(&|_| true, &|item| item.good == item.kept),
        coverage: share(&|_| true, &|item| item.kept),
    }
}

/// Coverage and risk as answers are kept from the surest on; equal confidences are kept together.
#[must_use]
pub fn risk_coverage(items: &[(f64, bool)]) -> Vec<(f64, f64)> {
    let mut order: Vec<&(f64, bool)> = items.iter().filter(|(confidence, _)| !confidence.is_nan()).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut kept, mut wrong, mut curve) = (0usize, 0usize, Vec::new());
    for same in order.chunk_by(|a, b| a.0 == b.0) {
        kept += same.len();
        wrong += same.iter().filter(|(_, right)| !right).count();
        curve.push((kept as f64 / order.len() as f64, wrong as f64 / kept as f64));
    }
    curve
}

/// Area under the risk-coverage curve, as steps; lower is better.
///
/// ```
/// use lyceum_eval::abstention::area_under_risk_coverage;
/// assert_eq!(area_under_risk_coverage(&[(0.9, true), (0.1, false)]), Some(0.25));
/// assert_eq!(area_under_risk_coverage(&[(0.5, true), (0.5, false)]), Some(0.5));
/// ```
#[must_use]
pub fn area_under_risk_coverage(items: &[(f64, bool)]) -> Option<f64> {
    let curve = risk_coverage(items);
    let step = |before: &mut f64, &(coverage, risk): &(f64, f64)| {
        let width = coverage - *before;
        *before = coverage;
        Some(width * risk)
    };
    (!curve.is_empty()).then(|| curve.iter().scan(0.0, step).sum())
}
