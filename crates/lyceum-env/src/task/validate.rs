//! Whether a task's verifier can be trusted: gold answers score 1, empty completions 0.

use serde::Serialize;

use super::{Problem, Split, Task};
use crate::error::Result;

/// Seed of the generated problems that are looked at.
const SEED: u64 = 0;

/// What the examination of a task found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Validation {
    /// The task's name.
    pub task: String,
    /// Problems that were looked at, in each split.
    pub checked: Vec<(Split, u64)>,
    /// Of these, problems without a gold answer: only a reward command can score them.
    pub without_answer: u64,
    /// Of these, problems with a demonstration.
    pub with_demonstration: u64,
    /// What is wrong.
    pub faults: Vec<ValidationFault>,
}

impl Validation {
    /// Whether nothing was wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }
}

/// A completion that the verifier judged wrongly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValidationFault {
    /// The problem's id.
    pub problem: String,
    /// Which completion: `gold`, `demonstration` or `empty`.
    pub completion: &'static str,
    /// What the component `correct` should have been, and what it was.
    pub message: String,
}

/// Looks at the first `limit` problems of every split.
///
/// # Errors
/// Those of [`Task::problem`].
pub fn validate(task: &dyn Task, limit: u64) -> Result<Validation> {
    let mut validation = Validation {
        task: task.name().to_owned(),
        checked: Vec::new(),
        without_answer: 0,
        with_demonstration: 0,
        faults: Vec::new(),
    };
    for &split in task.splits() {
        let count = task.count(split)?.unwrap_or(limit).min(limit);
        for index in 0..count {
            let problem = task.problem(split, SEED, index)?;
            if problem.answer.is_empty() {
                validation.without_answer += 1;
                continue;
            }
            let mut expect = |completion, text: &str, expected: f64| {
                validation.faults.extend(fault(task, &problem, completion, text, expected));
            };
            expect("gold", &task.gold(&problem), 1.0);
            expect("empty", "", 0.0);
            if let Some(demonstration) = &problem.demonstration {
                expect("demonstration", demonstration, 1.0);
                validation.with_demonstration += 1;
            }
        }
        validation.checked.push((split, count));
    }
    Ok(validation)
}

fn fault(
    task: &dyn Task,
    problem: &Problem,
    completion: &'static str,
    text: &str,
    expected: f64,
) -> Option<ValidationFault> {
    let components = task.verify(problem, text);
    let found = components.into_iter().find(|component| component.name == "correct");
    let message = match found.map(|component| component.score) {
        Some(Ok(score)) if score == expected => return None,
        Some(Ok(score)) => format!("scored {score}, not {expected}: {text}"),
        Some(Err(failure)) => format!("has no score: {failure}"),
        None => "the verifier gives no component `correct`".to_owned(),
    };
    Some(ValidationFault { problem: problem.id.clone(), completion, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::Component;
    use crate::task::{ComponentInfo, Message, TaskSpec, open};

    #[test]
    fn generated_tasks_pass() {
        for name in ["chain", "countdown", "facts", "programs"] {
            let task = open(&TaskSpec { name: name.to_owned(), options: serde_json::Map::new() }).unwrap();
            let validation = validate(task.as_ref(), 30).unwrap();
            assert!(validation.passed(), "{:?}", validation.faults);
            assert_eq!(validation.checked.len(), task.splits().len());
            assert_eq!(validation.with_demonstration, 30 * task.splits().len() as u64);
        }
    }

    /// A task whose verifier likes everything that is not the demonstration.
    struct Lenient;

    impl Task for Lenient {
        fn name(&self) -> &str {
            "lenient"
        }
        fn description(&self) -> &str {
            ""
        }
        fn splits(&self) -> &[Split] {
            &[Split::Train]
        }
        fn count(&self, _: Split) -> Result<Option<u64>> {
            Ok(Some(1))
        }
        fn problem(&self, _: Split, _: u64, _: u64) -> Result<Problem> {
            Ok(Problem {
                id: "lenient/0".into(),
                messages: vec![Message::user("?")],
                answer: "1".into(),
                demonstration: Some("one".into()),
                meta: serde_json::Map::new(),
            })
        }
        fn components(&self) -> &[ComponentInfo] {
            &[]
        }
        fn verify(&self, _: &Problem, completion: &str) -> Vec<Component> {
            vec![Component::holds("correct", completion != "one")]
        }
        fn gold(&self, problem: &Problem) -> String {
            problem.answer.clone()
        }
    }

    #[test]
    fn a_verifier_that_errs_is_found_out() {
        let validation = validate(&Lenient, 5).unwrap();
        let faults: Vec<_> =
            validation.faults.iter().map(|fault| (fault.completion, fault.message.as_str())).collect();
        assert_eq!(faults, [("empty", "scored 1, not 0: "), ("demonstration", "scored 0, not 1: one")]);
    }
}
