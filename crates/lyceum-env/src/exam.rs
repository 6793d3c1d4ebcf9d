//! Examinations: a model's answers to a list of problems, and what they come to.

use std::collections::{BTreeMap, BTreeSet};

use lyceum_chat::ChatModel;
use lyceum_engine::Event;
use lyceum_stats::{Bootstrap, Estimate, proportion};
use lyceum_trace::Trace;

use crate::Result;
use crate::rollout::{CALLS, Plan, Player, Start, chat_rollout, rollout};
use crate::task::{Problem, Task};

/// The outcome of an examination.
#[derive(Clone, Debug)]
pub struct Exam {
    /// The answers: a group of samples for each problem.
    pub traces: Vec<Vec<Trace>>,
    /// Mean of every component on the traces. Where the problems are of several kinds (`kind` in what the task knows of
    /// them), also `<kind>/<component>` for each kind; where tools were called, [`PRODUCTIVITY`].
    pub components: BTreeMap<String, Estimate>,
    /// Mean number of new tokens.
    pub tokens: Estimate,
}

/// Right answers a call of a tool, over all problems (TP, arXiv 2504.14870); absent where nothing was called.
pub const PRODUCTIVITY: &str = "productivity";

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
    let starts: Vec<Start> = problems.iter().cloned().map(Start::from).collect();
    Ok(exam(problems, rollout(player, task, &starts, plan, observe)?))
}

/// [`examine`] for a chat model; see [`chat_rollout`].
#[must_use]
pub fn examine_chat(
    model: &dyn ChatModel,
    task: &dyn Task,
    problems: &[Problem],
    plan: &Plan,
    concurrency: usize,
) -> Exam {
    exam(problems, chat_rollout(model, task, problems, plan, concurrency))
}

/// What the answers come to.
fn exam(problems: &[Problem], traces: Vec<Vec<Trace>>) -> Exam {
    let all: Vec<&[Trace]> = traces.iter().map(Vec::as_slice).collect();
    let mut components = components(&all);
    let kind = |problem: &Problem| problem.meta.get("kind")?.as_str().map(str::to_owned);
    let kinds: BTreeSet<String> = problems.iter().filter_map(kind).collect();
    if kinds.len() > 1 {
        for wanted in kinds {
            let own = problems.iter().zip(&all).filter(|(p, _)| kind(p).as_ref() == Some(&wanted));
            let own: Vec<&[Trace]> = own.map(|(_, group)| *group).collect();
            components.extend(
                self::components(&own).into_iter().map(|(name, value)| (format!("{wanted}/{name}"), value)),
            );
        }
    }
    let length = |trace: &Trace| trace.cost.generated_tokens as f64;
    let lengths: Vec<Vec<f64>> = traces.iter().map(|group| group.iter().map(length).collect()).collect();
    Exam { components, tokens: Bootstrap::default().mean(&lengths), traces }
}

/// Mean of every component on the traces, and of right answers a call.
fn components(groups: &[&[Trace]]) -> BTreeMap<String, Estimate> {
    let names: BTreeSet<&String> =
        groups.iter().copied().flatten().flat_map(|trace| trace.rewards.keys()).collect();
    let value = |name: &str, trace: &Trace| trace.rewards.get(name).and_then(lyceum_trace::Score::value);
    let of = |name: &String| {
        let values = |group: &&[Trace]| -> Vec<f64> {
            group.iter().map(|trace| value(name, trace).unwrap_or(f64::NAN)).collect()
        };
        (name.clone(), estimate(&groups.iter().map(values).collect::<Vec<_>>()))
    };
    let mut found: BTreeMap<String, Estimate> = names.into_iter().map(of).collect();
    let sum = |name: &str, group: &[Trace]| group.iter().filter_map(|trace| value(name, trace)).sum::<f64>();
    let each: Vec<(f64, f64)> =
        groups.iter().map(|group| (sum("correct", group), sum(CALLS, group))).collect();
    if each.iter().any(|(_, calls)| *calls > 0.0) {
        found.insert(PRODUCTIVITY.to_owned(), Bootstrap::default().ratio(&each));
    }
    found
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
    fn right_answers_a_call_over_all_problems() {
        let trace = |right: f64, calls: f64| {
            let mut trace = Trace::new("t", "facts", lyceum_trace::Problem::default());
            trace.rewards.insert("correct".into(), right.into());
            trace.rewards.insert(CALLS.into(), calls.into());
            vec![trace]
        };
        let groups = [trace(1.0, 0.0), trace(1.0, 1.0), trace(0.0, 3.0)];
        let found = components(&groups.each_ref().map(Vec::as_slice));
        // Two right answers for four calls: not the mean of ratios, of which one has nothing to divide by.
        assert!((found[PRODUCTIVITY].mean - 0.5).abs() < 1e-12);
        assert!((found[CALLS].mean - 4.0 / 3.0).abs() < 1e-12);
        let idle = [trace(1.0, 0.0)];
        assert!(!components(&idle.each_ref().map(Vec::as_slice)).contains_key(PRODUCTIVITY));
    }

    #[test]
    fn the_method_fits_the_values() {
        let yes_no = estimate(&[vec![1.0], vec![0.0], vec![f64::NAN]]);
        assert_eq!((yes_no.method, yes_no.n, yes_no.unscored), (Method::Wilson, 2, 1));
        let graded = estimate(&[vec![0.5], vec![0.25]]);
        assert_ne!(graded.method, Method::Wilson);
        assert!((graded.mean - 0.375).abs() < 1e-12);
    }
}
