//! Rewards: named components with ranges, and how a recipe makes one number of them.

mod component;

pub use component::{Component, Failure, FailureKind, Range};
