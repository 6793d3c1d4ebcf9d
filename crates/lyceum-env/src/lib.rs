//! Tasks, verifiers, rewards and the rollout driver.
//!
//! - [`answer`]: whether a model's answer is the gold one, exactly.
//! - [`task`]: where problems come from. A [`Task`] hands out numbered problems per split and verifies completions.
//! - [`reward`]: named scores with ranges, and how a recipe combines them to one number.
#![forbid(unsafe_code)]

pub mod answer;
mod child;
mod error;
pub mod exam;
pub mod reward;
pub mod rollout;
pub mod task;
pub mod tool;

pub use error::{Error, Result};
pub use reward::{Component, Failure, Range, RewardSpec};
pub use task::{Attempt, JudgedStep, Message, Preference, Problem, Role, Split, Task, TaskSpec};
