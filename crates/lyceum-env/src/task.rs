//! Tasks: where problems come from and how completions are verified.
//!
//! A [`Task`] hands out problems by (split, seed, number). The same three give the same problem, on every machine:
//! a checkpoint has to remember a number only. Generated tasks are endless; data tasks have a length and ignore the
//! seed. The order in which problems are visited is the sampler's business.

pub mod chain;
mod compose;
pub mod countdown;
mod facts;
pub(crate) mod keyed;
mod mistakes;
mod mix;
mod options;
mod own_data;
mod preferences;
mod problem;
mod programs;
mod public_data;
mod question;
mod registry;
mod validate;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use options::TaskSpec;
pub use problem::{Message, Problem, Role};
pub(crate) use registry::nearest;
pub use registry::{names, open};
pub use validate::{Validation, ValidationFault, validate};

use crate::error::{Error, Result};
use crate::reward::{Component, Range};

/// A part of a task's problems. No problem is in two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// For training.
    Train,
    /// Like training, never trained on.
    #[serde(alias = "test")]
    Heldout,
    /// Harder than training (longer chains), never trained on.
    Longer,
}

impl Split {
    /// Its name in recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Heldout => "heldout",
            Self::Longer => "longer",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "train" => Ok(Self::Train),
            "heldout" | "test" => Ok(Self::Heldout),
            "longer" => Ok(Self::Longer),
            _ => Err(format!("no split is called `{text}`; use train, heldout or longer")),
        }
    }
}

/// A component that a task's verifier gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComponentInfo {
    /// Its name.
    pub name: &'static str,
    /// The values it may take.
    pub range: Range,
    /// What it measures, in a few words.
    pub about: &'static str,
}

/// A step of somebody's attempt at a problem, with a judgement: what a process reward model learns from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedStep {
    /// The step's text, without what separates it from the next.
    pub text: String,
    /// Whether it is right.
    pub right: bool,
    /// What sort of step, for reports: `step`, or a sort of its own such as `filler`.
    pub kind: &'static str,
}

/// Somebody's attempt at a problem, step by step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The steps that were judged, from the first.
    pub steps: Vec<JudgedStep>,
    /// Whether the last of them ends the attempt. Otherwise steps follow that nobody judged: what is made of the attempt must
    /// not show where judgement stopped, for it stops at mistakes.
    pub ended: bool,
}

/// Two answers to a problem, of which one was preferred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// The better one.
    pub chosen: String,
    /// The other.
    pub rejected: String,
}

/// A source of problems with a verifier.
pub trait Task: Send + Sync {
    /// The name in recipes.
    fn name(&self) -> &str;

    /// One line for `lyceum task list`.
    fn description(&self) -> &str;

    /// The splits it has.
    fn splits(&self) -> &[Split];

    /// How many problems a split has; `None` if it is endless.
    ///
    /// # Errors
    /// [`Error::NoSplit`].
    fn count(&self, split: Split) -> Result<Option<u64>>;

    /// Problem number `index` of a split; a pure function of the arguments and the task's options.
    ///
    /// # Errors
    /// [`Error::NoSplit`], [`Error::NoProblem`].
    fn problem(&self, split: Split, seed: u64, index: u64) -> Result<Problem>;

    /// What [`verify`](Self::verify) returns. The first is always `correct`, 1 for a right final answer and else 0.
    fn components(&self) -> &[ComponentInfo];

    /// Scores a completion. Pure, total and bounded in time: any text gets a score.
    fn verify(&self, problem: &Problem, completion: &str) -> Vec<Component>;

    /// The shortest completion that the verifier must call correct: the bare gold answer in the task's form.
    fn gold(&self, problem: &Problem) -> String;

    /// What a tool that searches finds in this task, as (key, text).
    fn documents(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// An attempt at the problem with judgements; `None` for a task that has none.
    fn attempt(&self, _problem: &Problem) -> Option<Attempt> {
        None
    }

    /// Two answers to the problem, the better one told; `None` for a task that has none.
    fn preference(&self, _problem: &Problem) -> Option<Preference> {
        None
    }

    /// Judges the steps of a completion, 1 for right and -1 for wrong; `None` for a task that can't.
    fn judge(&self, _problem: &Problem, _steps: &[&str]) -> Option<Vec<f64>> {
        None
    }
}

pub(crate) fn no_split(task: &str, split: Split, known: &[Split]) -> Error {
    Error::NoSplit {
        task: task.to_owned(),
        split: split.to_string(),
        known: known.iter().map(|s| s.name()).collect::<Vec<_>>().join(", "),
    }
}
