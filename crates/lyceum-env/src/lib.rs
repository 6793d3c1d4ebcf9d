//! Tasks, verifiers, rewards and the rollout driver.
//!
//! - [`task`]: where problems come from. A [`Task`] hands out numbered problems per split and verifies completions.
//! - [`reward`]: named scores with ranges, and how a recipe combines them to one number.
#![forbid(unsafe_code)]

mod error;
pub mod reward;
pub mod task;

pub use error::{Error, Result};
pub use reward::{Component, Failure, Range};
pub use task::{Message, Problem, Role, Split, Task};
