//! One file a command.

pub mod bench;
pub mod chat;
pub mod data;
pub mod demo;
pub mod dry_run;
pub mod eval;
pub mod generate;
pub mod model;
pub mod papers;
pub mod reproduce;
pub mod rollout;
pub mod task;
pub mod train;
pub mod view;
