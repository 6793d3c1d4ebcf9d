//! Examinations: a model's answers to a list of problems, and what they come to.

use std::collections::BTreeMap;

use lyceum_engine::Event;
use lyceum_stats::{Bootstrap, Estimate, proportion};
use lyceum_trace::Trace;

use crate::Result;
use crate::rollout::{Plan, Player, rollout};
use crate::task::{Problem, Task};

/// The outcome of an examination.
#[derive(Clone, Debug)]
pub struct Exam {
    /// The answers: a group of samples for each problem.
    pub traces: Vec<Vec<Trace>>,
    /// Mean of every component of the task's verifier.
    pub components: BTreeMap<String, Estimate>,
    /// Mean number of new tokens.
    pub tokens: Estimate,
}

/// Rolls out all problems and estimates every component's mean. With one sample a problem and a component that holds
/// or does not, the interval is Wilson's; else it is a bootstrap over problems.
///
/// # Errors
/// Those of [`rollout`].
pub fn examine(
    player: &Player<'_>,
    task: &dyn Task,
    problems: &[Problem],
    plan: &Plan,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Exam> {
    let traces = rollout(player, task, problems, plan, observe)?;
    let component = |name: &str| -> Vec<Vec<f64>> {
        let value =
            |trace: &Trace| trace.rewards.get(name).and_then(lyceum_trace::Score::value).unwrap_or(f64::NAN);
        traces.iter().map(|group| group.iter().map(value).collect()).collect()
    };
    let names = task.components().iter().map(|info| info.name.to_owned());
    let components = names.map(|name| (name.clone(), estimate(&component(&name)))).collect();
    let length = |trace: &Trace| trace.cost.generated_tokens as f64;
    let lengths: Vec<Vec<f64>> = traces.iter().map(|group| group.iter().map(length).collect()).collect();
    Ok(Exam { components, tokens: Bootstrap::default().mean(&lengths), traces })
}

/// The mean over all items, whose groups are independent. NaN is an item without a score.
#[must_use]
pub fn estimate(groups: &[Vec<f64>]) -> Estimate {
    let all = || groups.iter().flatten().copied();
    let single = groups.iter().all(|group| group.len() == 1);
    if single && all().all(|value| value.is_nan() || value == 0.0 || value == 1.0) {
        let scored = all().filter(|value| !value.is_nan()).count();
        let successes = all().filter(|&value| value == 1.0).count();
        return proportion(successes, scored).with_unscored(groups.len() - scored);
    }
    Bootstrap::default().mean(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lyceum_stats::Method;

    #[test]
    fn the_method_fits_the_values() {
        let yes_no = estimate(&[vec![1.0], vec![0.0], vec![f64::NAN]]);
        assert_eq!((yes_no.method, yes_no.n, yes_no.unscored), (Method::Wilson, 2, 1));
        let graded = estimate(&[vec![0.5], vec![0.25]]);
        assert_ne!(graded.method, Method::Wilson);
        assert!((graded.mean - 0.375).abs() < 1e-12);
    }
}
