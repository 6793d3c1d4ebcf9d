//! What goes wrong with process rewards shows in the responses before it shows in their accuracy: how many steps they
//! have, how long a step is, how often they repeat themselves (PURE, arXiv 2504.15275, catalogues the signs).

use std::collections::HashSet;

use lyceum_run::Row;
use lyceum_trace::{Source, Trace};

use crate::credit::Credit;
use crate::replay::is_right;
use crate::round::mean;

/// Tokens of the stretches whose recurrence counts as repetition.
const STRETCH: usize = 8;

/// Logs the signs of a round whose steps were judged; nothing where they were not.
pub fn signs(groups: &[Vec<Trace>], credit: Credit, row: &mut Row) {
    let traces = groups.iter().flatten().filter(|trace| !trace.process.is_empty());
    let judged: Vec<Judged<'_>> = traces.map(|trace| Judged::of(trace, credit)).collect();
    if judged.is_empty() {
        return;
    }
    let mut log = |name: &str, values: &dyn Fn(&Judged<'_>) -> f64, of: &[&Judged<'_>]| {
        if !of.is_empty() {
            row.set(name, mean(of.iter().map(|one| values(one))));
        }
    };
    let all: Vec<&Judged<'_>> = judged.iter().collect();
    let right: Vec<&Judged<'_>> = judged.iter().filter(|one| one.right).collect();
    let tokens = |one: &Judged<'_>| one.trace.cost.generated_tokens as f64;
    let steps = |one: &Judged<'_>| one.trace.process.len() as f64;
    let holds = |holds: bool| f64::from(u8::from(holds));
    // Signature (i): thinking without end; (ii): one giant step; (iii): a short, empty answer.
    log("rollout/steps", &steps, &all);
    log("rollout/tokens-per-step", &|one| tokens(one) / steps(one), &all);
    log("rollout/one-step", &|one| holds(one.trace.process.len() == 1), &all);
    log("rollout/repetition", &|one| one.repetition, &all);
    // Signs of a collapse: right answers that are long, repetitive or cut off.
    log("right/repetition", &|one| one.repetition, &right);
    log("right/tokens", &tokens, &right);
    log("right/truncated", &|one| holds(one.trace.is_cut()), &right);
    log("process/score", &|one| mean(one.trace.process.iter().copied()), &all);
    log("process/worst", &|one| one.trace.process.iter().copied().fold(f64::INFINITY, f64::min), &all);
    if credit != Credit::Outcome {
        // Named as a component is: a return that rises while the held-out answers get no better raises an alarm.
        log("reward/process", &|one| one.paid, &all);
        log("process/agreement", &|one| holds((one.paid > 0.0) == one.right), &all);
    }
}

/// A response whose steps were judged, with what is asked of it more than once.
struct Judged<'a> {
    trace: &'a Trace,
    right: bool,
    repetition: f64,
    paid: f64,
}

impl<'a> Judged<'a> {
    fn of(trace: &'a Trace, credit: Credit) -> Self {
        let scores: Vec<f32> = trace.process.iter().map(|&score| score as f32).collect();
        let paid = credit.transform(&scores).iter().map(|&reward| f64::from(reward)).sum();
        Self { trace, right: is_right(trace), repetition: repetition(trace), paid }
    }
}

/// Share of the sampled stretches of tokens that were there before.
fn repetition(trace: &Trace) -> f64 {
    let Some(record) = trace.policy_tokens() else { return 0.0 };
    let all = record.ids.iter().zip(record.source.iter());
    let ids: Vec<u32> = all.filter(|(_, source)| *source == Source::Sampled).map(|(&id, _)| id).collect();
    let stretches: Vec<&[u32]> = ids.windows(STRETCH).collect();
    let distinct: HashSet<&[u32]> = stretches.iter().copied().collect();
    1.0 - distinct.len() as f64 / stretches.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use lyceum_trace::{Call, Finish, Problem, Score, TokenRecord};

    use super::*;

    fn trace(ids: &[u32], process: &[f64], right: bool, cut: bool) -> Trace {
        let mut tokens = TokenRecord::default();
        tokens.push_given(Source::Prompt, &[1]);
        ids.iter().for_each(|&id| tokens.push_sampled(id, -1.0));
        let call = Call {
            parent: None,
            role: "policy".into(),
            model: "m".into(),
            parts: Vec::new(),
            tokens: Some(tokens),
            finish: Some(if cut { Finish::Length } else { Finish::Stop }),
        };
        let mut trace = Trace::new("t", "chain", Problem::default());
        trace.calls.push(call);
        trace.process = process.to_vec();
        trace.cost.generated_tokens = ids.len() as u64;
        trace.rewards.insert("correct".into(), Score::of(f64::from(u8::from(right))));
        trace
    }

    #[test]
    fn signs_by_a_worked_example() {
        let looping: Vec<u32> = [7, 8].repeat(10);
        let plain: Vec<u32> = (0..12).collect();
        let groups =
            [vec![trace(&looping, &[0.5; 10], true, true), trace(&plain, &[0.5, -0.5], false, false)]];
        let mut row = Row::new(1);
        signs(&groups, Credit::Sum, &mut row);
        let expected = [
            ("rollout/steps", 6.0),
            ("rollout/tokens-per-step", 4.0),
            ("rollout/one-step", 0.0),
            // 13 stretches, 2 of them distinct; and 5 distinct ones.
            ("rollout/repetition", (11.0 / 13.0) / 2.0),
            ("right/repetition", 11.0 / 13.0),
            ("right/truncated", 1.0),
            ("process/score", 0.25),
            ("process/worst", 0.0),
            ("reward/process", 2.5),
            // Paid 5.0 and right; paid 0 and wrong.
            ("process/agreement", 1.0),
        ];
        for (name, value) in expected {
            assert!((row.metrics[name] - value).abs() < 1e-6, "{name}: {}", row.metrics[name]);
        }
    }

    #[test]
    fn nothing_is_said_of_steps_that_nobody_judged() {
        let mut row = Row::new(1);
        signs(&[vec![trace(&[1, 2], &[], true, false)]], Credit::Outcome, &mut row);
        assert!(row.metrics.is_empty());
    }
}
