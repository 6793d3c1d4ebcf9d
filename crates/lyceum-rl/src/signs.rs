//! What goes wrong with process rewards shows in the responses before it shows in their accuracy: how many steps they
//! have, how long a step is, how often they repeat themselves (PURE, arXiv 2504.15275, catalogues the signs).

use std::collections::HashSet;

use lyceum_env::exam::estimate;
use lyceum_run::Row;
use lyceum_trace::{Finish, Source, TokenRecord, Trace};

use crate::credit::Credit;

/// Tokens of the stretches whose recurrence counts as repetition.
const STRETCH: usize = 8;

/// Logs the signs of a round whose steps were judged; nothing where they were not.
pub fn signs(groups: &[Vec<Trace>], credit: Credit, row: &mut Row) {
    let judged: Vec<&Trace> = groups.iter().flatten().filter(|trace| !trace.process.is_empty()).collect();
    if judged.is_empty() {
        return;
    }
    let mut log = |name: &str, values: Vec<f64>| {
        if !values.is_empty() {
            row.set(name, estimate(&[values]).mean);
        }
    };
    let each = |value: &dyn Fn(&Trace) -> f64| judged.iter().map(|trace| value(trace)).collect::<Vec<f64>>();
    let right: Vec<&&Trace> = judged.iter().filter(|trace| is_right(trace)).collect();
    // Signature (i): thinking without end; (ii): one giant step; (iii): a short, empty answer.
    log("rollout/steps", each(&|trace| trace.process.len() as f64));
    log("rollout/tokens-per-step", each(&|t| t.cost.generated_tokens as f64 / t.process.len() as f64));
    log("rollout/one-step", each(&|trace| f64::from(u8::from(trace.process.len() == 1))));
    log("rollout/repetition", each(&repetition));
    // Signs of a collapse: right answers that are long, repetitive or cut off.
    log("right/repetition", right.iter().map(|trace| repetition(trace)).collect());
    log("right/tokens", right.iter().map(|trace| trace.cost.generated_tokens as f64).collect());
    log("right/truncated", right.iter().map(|trace| f64::from(u8::from(is_cut(trace)))).collect());
    log("process/score", each(&|trace| trace.process.iter().sum::<f64>() / trace.process.len() as f64));
    log("process/worst", each(&|trace| trace.process.iter().copied().fold(f64::INFINITY, f64::min)));
    let paid = |trace: &Trace| -> f64 {
        let scores: Vec<f32> = trace.process.iter().map(|&score| score as f32).collect();
        credit.transform(&scores).iter().map(|&reward| f64::from(reward)).sum()
    };
    if credit != Credit::Outcome {
        // Named as a component is: a return that rises while the held-out answers get no better raises an alarm.
        log("reward/process", each(&paid));
        log("process/agreement", each(&|trace| f64::from(u8::from((paid(trace) > 0.0) == is_right(trace)))));
    }
}

fn is_right(trace: &Trace) -> bool {
    trace.rewards.get("correct").and_then(lyceum_trace::Score::value) == Some(1.0)
}

fn is_cut(trace: &Trace) -> bool {
    trace.calls.iter().any(|call| call.finish == Some(Finish::Length))
}

/// Share of the sampled stretches of tokens that were there before.
fn repetition(trace: &Trace) -> f64 {
    let sampled = |record: &TokenRecord| -> Vec<u32> {
        let all = record.ids.iter().zip(record.source.iter());
        all.filter(|(_, source)| *source == Source::Sampled).map(|(&id, _)| id).collect()
    };
    let ids: Vec<u32> = trace.calls.iter().filter_map(|c| c.tokens.as_ref()).flat_map(sampled).collect();
    let stretches: Vec<&[u32]> = ids.windows(STRETCH).collect();
    let distinct: HashSet<&[u32]> = stretches.iter().copied().collect();
    1.0 - distinct.len() as f64 / stretches.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use lyceum_trace::{Call, Problem, Score};

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
