//! Process rewards: every reasoning step of a completion judged by a model, or by the task itself.

use lyceum_engine::{Model, Steps, judge};
use lyceum_text::{SpecialTokens, Tokenizer};
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
    /// Share of the task's own judgements that are turned round: a judge with blind spots. Which they are depends on the
    /// problem and the step's text alone, so that they can be found and used, as those of a model can.
    pub noise: f64,
}

impl Default for ProcessSpec {
    fn default() -> Self {
        Self { model: None, separator: "\n\n".into(), noise: 0.0 }
    }
}

/// Tokens that are judged at once; bounds memory.
const ROWS: usize = 4096;

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

    /// The weights of the model that judges, if one does.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.model.as_ref().map(|model| model.identity.fingerprint.as_str())
    }

    /// Puts the score of every step on the traces. `problems[i]` is what the traces of `groups[i]` answer, `tokenizer`
    /// the policy's.
    ///
    /// # Errors
    /// [`Error::Engine`] for a model that can't judge, [`Error::Option`] for a task that can't.
    pub fn judge(
        &self,
        task: &dyn Task,
        problems: &[Problem],
        groups: &mut [Vec<Trace>],
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        match &self.model {
            Some(model) => ask_model(model, groups),
            None => self.ask_task(task, problems, groups, tokenizer),
        }
    }

    fn ask_task(
        &self,
        task: &dyn Task,
        problems: &[Problem],
        groups: &mut [Vec<Trace>],
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        for (problem, group) in problems.iter().zip(groups) {
            for trace in group {
                let Some(record) = trace.policy_tokens() else { continue };
                let texts = step_texts(record, tokenizer)?;
                // A last step of end tokens alone has no text: it adds nothing to the step before.
                let said = texts.iter().rposition(|text| !text.is_empty()).map_or(0, |last| last + 1);
                let steps: Vec<&str> = texts[..said].iter().map(String::as_str).collect();
                let Some(mut scores) = task.judge(problem, &steps) else {
                    let message = format!("is absent, and the task {} can't judge steps itself", task.name());
                    return Err(Error::option("reward.process", "model", message));
                };
                for (score, step) in scores.iter_mut().zip(&steps) {
                    if share_of(&format!("{}\n{step}", problem.id)) < self.spec.noise {
                        *score = -*score;
                    }
                }
                scores.resize(texts.len(), 0.0);
                trace.process = scores;
            }
        }
        Ok(())
    }
}

fn ask_model(model: &Model, groups: &mut [Vec<Trace>]) -> Result<()> {
    let of = |trace: &Trace| {
        let record = trace.policy_tokens()?;
        Some(Steps { ids: record.ids.clone(), ends: record.steps.clone() })
    };
    let steps: Vec<Steps> = groups.iter().flatten().map(|trace| of(trace).unwrap_or_default()).collect();
    let scores = judge(&model.policy, &steps.iter().collect::<Vec<_>>(), ROWS)?;
    for (trace, scores) in groups.iter_mut().flatten().zip(scores) {
        trace.process = scores.into_iter().map(f64::from).collect();
    }
    Ok(())
}

/// The text of each step that the record marks, from the first sampled token on.
fn step_texts(record: &TokenRecord, tokenizer: &Tokenizer) -> Result<Vec<String>> {
    let mut from = record.source.iter().position(|source| source == Source::Sampled).unwrap_or(0);
    let text = |&end: &u32| {
        let own = from..end as usize;
        from = own.end;
        let ids = record.ids.get(own).unwrap_or_default();
        Ok(tokenizer.decode(ids, SpecialTokens::Skip).map_err(lyceum_engine::Error::Text)?)
    };
    record.steps.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use lyceum_text::ControlTokens;

    use super::*;

    #[test]
    fn a_step_is_what_the_record_says_and_not_what_the_text_looks_like() {
        let tokenizer = Tokenizer::bytes(&ControlTokens::default()).unwrap();
        let mut record = TokenRecord::default();
        record.push_given(Source::Prompt, &tokenizer.encode("q\n").unwrap());
        let mut say = |text: &str| {
            for id in tokenizer.encode(text).unwrap() {
                record.push_sampled(id, -1.0);
            }
            record.end_step();
        };
        say("a\n");
        say("b\nc");
        say("");
        assert_eq!(step_texts(&record, &tokenizer).unwrap(), ["a\n", "b\nc", ""]);
        assert!(step_texts(&TokenRecord::default(), &tokenizer).unwrap().is_empty());
    }
}
