//! Process rewards: every reasoning step of a completion judged by a model, or by the task itself.

use lyceum_engine::{Model, Steps, judge};
use lyceum_trace::{Source, TokenRecord, Trace};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::Error;
use crate::task::keyed::share_of;
use crate::task::{Problem, Task};

/// The recipe's table `reward.process`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessSpec {
    /// The process reward model: the folder of one, or a run that trained one. It must have the policy's tokenizer,
    /// for it reads the policy's tokens. When absent, the task judges its own steps (an oracle).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What ends a step.
    pub separator: String,
    /// What a step's score is multiplied by before credit is assigned.
    pub weight: f64,
    /// Tokens that are judged at once; bounds memory.
    pub rows: usize,
    /// Share of the task's own judgements that are turned round: a judge with blind spots. Which they are depends on the
    /// problem and the step's text alone, so that they can be found and used, as those of a model can.
    pub noise: f64,
}

impl Default for ProcessSpec {
    fn default() -> Self {
        Self { model: None, separator: "\n\n".into(), weight: 1.0, rows: 4096, noise: 0.0 }
    }
}

/// Who judges steps.
pub struct ProcessReward {
    spec: ProcessSpec,
    model: Option<Model>,
}

impl ProcessReward {
    /// A judge by a loaded model, or by the task where there is none.
    #[must_use]
    pub fn new(spec: ProcessSpec, model: Option<Model>) -> Self {
        Self { spec, model }
    }

    /// Puts the score of every step on the traces; `problems[i]` is what the traces of `groups[i]` answer.
    ///
    /// # Errors
    /// [`Error::Engine`] for a model that can't judge, [`Error::Option`] for a task that can't.
    pub fn judge(&self, task: &dyn Task, problems: &[Problem], groups: &mut [Vec<Trace>]) -> Result<()> {
        match &self.model {
            Some(model) => self.ask_model(model, groups),
            None => self.ask_task(task, problems, groups),
        }
    }

    fn ask_model(&self, model: &Model, groups: &mut [Vec<Trace>]) -> Result<()> {
        let of = |trace: &Trace| {
            let record = policy_record(trace)?;
            Some(Steps { ids: record.ids.clone(), ends: record.steps.clone() })
        };
        let steps: Vec<Steps> = groups.iter().flatten().map(|trace| of(trace).unwrap_or_default()).collect();
        let scores = judge(&model.policy, &steps.iter().collect::<Vec<_>>(), self.spec.rows)?;
        for (trace, scores) in groups.iter_mut().flatten().zip(scores) {
            trace.process = scores.iter().map(|&score| self.spec.weight * f64::from(score)).collect();
        }
        Ok(())
    }

    fn ask_task(&self, task: &dyn Task, problems: &[Problem], groups: &mut [Vec<Trace>]) -> Result<()> {
        for (problem, group) in problems.iter().zip(groups) {
            for trace in group {
                let text = trace.text_of(Source::Sampled);
                let steps = trace_steps(&text, &self.spec.separator);
                let Some(scores) = task.judge(problem, &steps) else {
                    let message = format!("is absent, and the task {} can't judge steps itself", task.name());
                    return Err(Error::option("reward.process", "model", message));
                };
                let count = policy_record(trace).map_or(0, |record| record.steps.len());
                // A last step of end tokens alone has no text: it adds nothing to the step before.
                let turned = |(score, step): (f64, &&str)| {
                    let blind = share_of(&format!("{}\n{step}", problem.id)) < self.spec.noise;
                    if blind { -score } else { score }
                };
                let scores =
                    scores.into_iter().zip(&steps).map(turned).chain(std::iter::repeat(0.0)).take(count);
                trace.process = scores.map(|score| self.spec.weight * score).collect();
            }
        }
        Ok(())
    }
}

fn policy_record(trace: &Trace) -> Option<&TokenRecord> {
    trace.calls.iter().find(|call| call.role == "policy")?.tokens.as_ref()
}

fn trace_steps<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    text.split_inclusive(separator).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_after_each_separator() {
        assert_eq!(trace_steps("a\nb\n", "\n"), ["a\n", "b\n"]);
        assert_eq!(trace_steps("one", "\n"), ["one"]);
        assert!(trace_steps("", "\n").is_empty());
    }
}
