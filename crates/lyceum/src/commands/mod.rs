//! One file a command.

pub mod demo;
pub mod train;
pub mod rollout;
pub mod chat;
pub mod generate;
pub mod eval;
pub mod task;
pub mod model;
pub mod data;
pub mod view;
pub mod bench;
pub mod dry_run;
