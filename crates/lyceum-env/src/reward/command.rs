//! A reward in any language: a program that reads JSON lines and writes JSON lines.
//!
//! For each line `{"id", "prompt", "completion", "answer"}` on its standard input the program writes one line to its
//! standard output: `{"reward": 0.5}`, or `{"components": {"style": 0.2, "facts": 1}}`, or both. An `"id"` in the answer is
//! compared with the question's. The program is started once and asked again and again; it may take `startup` longer for
//! its first answer. Whatever it does, every question gets a number or a failure with its cause:
//!
//! | the program | the question at hand | the others |
//! |---|---|---|
//! | does not answer in time | fails: deadline | asked again after a restart |
//! | ends, closes its output, can't be started | fails: died | asked again after a restart |
//! | writes a line that is no answer, NaN, infinity | fails: garbage, not finite | go on |
//! | writes without a newline | fails: garbage | asked again after a restart |
//! | writes more lines than it was asked for | all of the batch fail: garbage | |
//!
//! After three restarts without an answer between them the rest of the batch fails at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::component::{Failure, FailureKind};
use crate::child::{LineChild, Silence};

/// Restarts in a row, without an answer between them, before a batch is given up.
const RESTARTS: u32 = 3;
/// How long a program that closed its output has to end by itself.
const LAST_BREATH: Duration = Duration::from_secs(2);
/// How long a surplus line is waited for after the last answer of a batch.
const GRACE: Duration = Duration::from_millis(10);

/// What the program is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Question {
    /// Unique within a run.
    pub id: String,
    /// What the model was asked.
    pub prompt: String,
    /// What it wrote.
    pub completion: String,
    /// The gold answer, if there is one.
    pub answer: Option<String>,
}

#[derive(Deserialize)]
struct Reply {
    id: Option<String>,
    reward: Option<f64>,
    #[serde(default)]
    components: BTreeMap<String, f64>,
}

/// The program's components for one question; `reward` is one of them.
pub type Outcome = Result<BTreeMap<String, f64>, Failure>;

/// A user's reward program.
pub struct CommandReward {
    command: Vec<String>,
    deadline: Duration,
    startup: Duration,
    child: Option<Fresh>,
}

/// A child, and whether it has answered yet.
struct Fresh {
    child: LineChild,
    answered: bool,
}

impl CommandReward {
    /// A program with its arguments; nothing is started yet. `deadline` holds for each answer, `startup` is added to it
    /// for the first.
    #[must_use]
    pub fn new(command: Vec<String>, deadline: Duration, startup: Duration) -> Self {
        Self { command, deadline, startup, child: None }
    }

    /// Asks all questions; as many outcomes in their order.
    pub fn ask(&mut self, questions: &[Question]) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(questions.len());
        let mut restarts = 0;
        while outcomes.len() < questions.len() {
            let before = outcomes.len();
            let trouble = self.converse(&questions[before..], &mut outcomes);
            let Some(trouble) = trouble else { break };
            restarts = if outcomes.len() > before { 0 } else { restarts + 1 };
            let message = self.stop(&trouble);
            if trouble.kind == FailureKind::Garbage && trouble.message == SURPLUS {
                // Nobody knows which line answered what.
                outcomes.clear();
                outcomes.resize(questions.len(), Err(Failure::new(trouble.kind, message)));
                break;
            }
            outcomes.push(Err(Failure::new(trouble.kind, message)));
            if restarts >= RESTARTS {
                let cause = Failure::new(
                    trouble.kind,
                    format!("not asked: the reward command failed {restarts} times in a row"),
                );
                outcomes.resize(questions.len(), Err(cause));
            }
        }
        outcomes
    }

    /// Asks until all have an outcome, or until the child has to be given up; then the reason.
    fn converse(&mut self, questions: &[Question], outcomes: &mut Vec<Outcome>) -> Option<Failure> {
        if self.child.is_none() {
            match LineChild::start(&self.command) {
                Ok(child) => self.child = Some(Fresh { child, answered: false }),
                Err(error) => {
                    return Some(Failure::new(FailureKind::Died, format!("can't be started: {error}")));
                }
            }
        }
        let fresh = self.child.as_mut()?;
        if fresh.child.line(Instant::now()).is_ok() {
            return Some(Failure::new(FailureKind::Garbage, SURPLUS));
        }
        let mut lines = Vec::new();
        for question in questions {
            if let Ok(mut line) = serde_json::to_vec(question) {
                lines.append(&mut line);
                lines.push(b'\n');
            }
        }
        fresh.child.send(lines);
        for question in questions {
            let patience = if fresh.answered { self.deadline } else { self.deadline + self.startup };
            match fresh.child.line(Instant::now() + patience) {
                Ok(line) => {
                    fresh.answered = true;
                    outcomes.push(read(&line, question));
                }
                Err(Silence::Deadline) => {
                    let message = format!("did not answer within {:.1} s", patience.as_secs_f64());
                    return Some(Failure::new(FailureKind::Deadline, message));
                }
                Err(Silence::Closed) => {
                    return Some(Failure::new(FailureKind::Died, "ended before it had answered"));
                }
                Err(Silence::TooLong) => {
                    return Some(Failure::new(FailureKind::Garbage, "wrote a megabyte without a newline"));
                }
            }
        }
        match fresh.child.line(Instant::now() + GRACE) {
            Ok(_) => Some(Failure::new(FailureKind::Garbage, SURPLUS)),
            Err(_) => None,
        }
    }

    /// Ends the child; the whole story for the failure's message.
    fn stop(&mut self, trouble: &Failure) -> String {
        let patience = if trouble.kind == FailureKind::Died { LAST_BREATH } else { Duration::ZERO };
        let story = self.child.take().map(|fresh| fresh.child.post_mortem(patience));
        let command = self.command.join(" ");
        match story {
            Some(story) => format!("the reward command `{command}` {}; {story}", trouble.message),
            None => format!("the reward command `{command}` {}", trouble.message),
        }
    }
}

const SURPLUS: &str = "wrote more lines than it was asked for (print to stderr what is not an answer)";

fn read(line: &[u8], question: &Question) -> Outcome {
    let text = String::from_utf8_lossy(line);
    let shown: String = text.chars().take(120).collect();
    let fail = |kind, what: &str| {
        Err(Failure::new(kind, format!("the reward command answered {what} for {}: {shown}", question.id)))
    };
    let reply: Reply = match serde_json::from_str(&text) {
        Ok(reply) => reply,
        // JSON has no words for these, but many writers of JSON do.
        Err(_) if text.contains("NaN") || text.contains("Infinity") => {
            return fail(FailureKind::NotFinite, "a number that is not finite");
        }
        Err(error) => return fail(FailureKind::Garbage, &format!("no reward ({error})")),
    };
    if reply.id.is_some_and(|id| id != question.id) {
        return fail(FailureKind::Garbage, "another question");
    }
    let mut components = reply.components;
    if let Some(reward) = reply.reward {
        components.insert("reward".to_owned(), reward);
    }
    if components.is_empty() {
        return fail(FailureKind::Garbage, "neither \"reward\" nor \"components\"");
    }
    if components.values().any(|value| !value.is_finite()) {
        return fail(FailureKind::NotFinite, "a number that is not finite");
    }
    Ok(components)
}
