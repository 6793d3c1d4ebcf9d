//! `bigbench_mistake`: chains of thought of a language model with the first wrong step marked by people
//! (arXiv 2311.08516). There is nothing to sample here that the verifier could call a solution of a policy's own: the
//! attempts are what it is for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::keyed::is_heldout;
use super::options::read;
use super::public_data::read_lines;
use super::{Attempt, ComponentInfo, JudgedStep, Message, Problem, Split, Task, no_split};
use crate::error::{Error, Result};
use crate::reward::{Component, Range};

const NAME: &str = "bigbench_mistake";
const SPLITS: [Split; 2] = [Split::Train, Split::Heldout];
const HELDOUT_PERCENT: u64 = 20;
const SUBJECTS: [&str; 5] = [
    "dyck_languages",
    "logical_deduction",
    "multistep_arithmetic",
    "tracking_shuffled_objects",
    "word_sorting",
];
const COMPONENTS: [ComponentInfo; 1] =
    [ComponentInfo { name: "correct", range: Range::UNIT, about: "the text ends in the target" }];

/// Options of the task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MistakesOptions {
    /// Which of the five files.
    pub subjects: Vec<String>,
    /// Attempts of more characters are left out.
    pub longest: usize,
}

impl Default for MistakesOptions {
    fn default() -> Self {
        Self { subjects: SUBJECTS.map(str::to_owned).to_vec(), longest: 2_500 }
    }
}

#[derive(Deserialize)]
struct Row {
    input: String,
    steps: Vec<String>,
    target: Value,
    mistake_index: Option<usize>,
}

/// The task. A row's steps after its first mistake have no judgement and are left out.
pub struct MistakesTask {
    splits: [Vec<(Problem, Attempt)>; 2],
}

impl MistakesTask {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Error::Option`] for an unknown subject, and what the files say.
    pub fn new(options: Map<String, Value>) -> Result<Self> {
        let options: MistakesOptions = read(NAME, options)?;
        let folder = lyceum_hub::data::pull(NAME, &lyceum_hub::Silent)?;
        let mut splits = [Vec::new(), Vec::new()];
        for subject in &options.subjects {
            if !SUBJECTS.contains(&subject.as_str()) {
                let known = format!("has no {subject:?}; there are {}", SUBJECTS.join(", "));
                return Err(Error::option(NAME, "subjects", known));
            }
            let rows: Vec<Row> = read_lines(&folder.join(format!("{subject}.jsonl")))?;
            for (index, row) in rows.into_iter().enumerate() {
                let length = row.input.len() + row.steps.iter().map(String::len).sum::<usize>();
                let heldout = is_heldout(&row.input, HELDOUT_PERCENT);
                if length <= options.longest && !row.steps.is_empty() {
                    splits[usize::from(heldout)].push(judged(subject, index, row));
                }
            }
        }
        Ok(Self { splits })
    }

    fn rows(&self, split: Split) -> Result<&[(Problem, Attempt)]> {
        match split {
            Split::Train => Ok(&self.splits[0]),
            Split::Heldout => Ok(&self.splits[1]),
            Split::Longer => Err(no_split(NAME, split, &SPLITS)),
        }
    }
}

fn judged(subject: &str, index: usize, row: Row) -> (Problem, Attempt) {
    let judged = row.mistake_index.map_or(row.steps.len(), |first| first + 1);
    let ended = judged >= row.steps.len();
    let steps = row.steps.into_iter().take(judged).enumerate().map(|(at, text)| JudgedStep {
        text,
        right: row.mistake_index != Some(at),
        kind: "step",
    });
    let answer = match row.target {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let problem = Problem {
        id: format!("{NAME}/{subject}/{index}"),
        messages: vec![Message::user(row.input)],
        answer,
        demonstration: None,
        meta: Map::new(),
    };
    (problem, Attempt { steps: steps.collect(), ended })
}

impl Task for MistakesTask {
    fn name(&self) -> &str {
        NAME
    }

    fn description(&self) -> &str {
        "chains of thought with the first wrong step marked by people (BIG-Bench Mistake)"
    }

    fn splits(&self) -> &[Split] {
        &SPLITS
    }

    fn count(&self, split: Split) -> Result<Option<u64>> {
        Ok(Some(self.rows(split)?.len() as u64))
    }

    fn problem(&self, split: Split, _seed: u64, index: u64) -> Result<Problem> {
        let rows = self.rows(split)?;
        let row = rows.get(index as usize).ok_or_else(|| Error::NoProblem {
            task: NAME.into(),
            split: split.to_string(),
            index,
            len: rows.len() as u64,
        })?;
        Ok(row.0.clone())
    }

    fn components(&self) -> &[ComponentInfo] {
        &COMPONENTS
    }

    fn verify(&self, problem: &Problem, completion: &str) -> Vec<Component> {
        let target = problem.answer.trim();
        vec![Component::holds("correct", !target.is_empty() && completion.trim_end().ends_with(target))]
    }

    fn gold(&self, problem: &Problem) -> String {
        problem.answer.clone()
    }

    fn attempt(&self, problem: &Problem) -> Option<Attempt> {
        let all = self.splits.iter().flatten();
        all.into_iter().find(|(known, _)| known.id == problem.id).map(|(_, attempt)| attempt.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mistake: Option<usize>) -> Row {
        Row {
            input: "2 + 3 * 4 = ".into(),
            steps: vec!["3 * 4 = 12".into(), "2 + 12 = 15".into(), "So the answer is 15.".into()],
            target: 14.into(),
            mistake_index: mistake,
        }
    }

    #[test]
    fn steps_after_the_first_mistake_have_no_judgement() {
        let right = |mistake| {
            judged("multistep_arithmetic", 0, row(mistake))
                .1
                .steps
                .iter()
                .map(|s| s.right)
                .collect::<Vec<_>>()
        };
        assert_eq!(right(Some(1)), [true, false]);
        assert_eq!(right(None), [true, true, true]);
        let ended = |mistake| judged("multistep_arithmetic", 0, row(mistake)).1.ended;
        assert!(ended(None) && ended(Some(2)) && !ended(Some(1)));
    }

    #[test]
    #[ignore = "needs LYCEUM_DATA"]
    fn needs_data_both_splits_hold_both_judgements() {
        let task = MistakesTask::new(Map::new()).unwrap();
        for split in SPLITS {
            let count = task.count(split).unwrap().unwrap();
            let steps: Vec<JudgedStep> = (0..count)
                .flat_map(|i| task.attempt(&task.problem(split, 0, i).unwrap()).unwrap().steps)
                .collect();
            let wrong = steps.iter().filter(|step| !step.right).count();
            assert!(count > 50 && wrong > 20 && wrong < steps.len() / 2, "{count} {wrong} {}", steps.len());
        }
    }
}
