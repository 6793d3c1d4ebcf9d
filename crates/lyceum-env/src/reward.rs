//! Rewards: named components with ranges, and how a recipe makes one number of them.

mod component;
mod placeholder;
pub use placeholder::{RewardSpec, Rewards};

pub use component::{Component, Failure, FailureKind, Range};
