//! Rewards: named components with ranges, and how a recipe makes one number of them.
//!
//! The task's verifier writes its components (`correct`, `format`, ...) on a trace; [`Rewards`] adds those that the
//! recipe asks for (`length`, a user's command) and the total. A component that can't be had is a
//! [`Failure`] with a cause: the trace then has no total and is counted as unscored.

mod command;
mod component;
mod efficiency;
mod judge;
mod pairwise;
mod process;
mod rewards;
mod spec;

pub use command::{CommandReward, Question};
pub use component::{Component, Failure, FailureKind, Range};
pub use efficiency::{EFFICIENCY, EfficiencySpec, Fewest, Optimum, Order, with_optimum, without_optimum};
pub use judge::{JUDGE, JudgeSpec};
pub use pairwise::{PREFERRED, PairwiseSpec};
pub use process::{ProcessReward, ProcessSpec};
pub use rewards::{Answers, Rewards};
pub use spec::{LengthSpec, RewardSpec, Rule};
