//! One file a command.

pub mod ask;
pub mod bench;
pub mod chat;
pub mod data;
pub mod demo;
pub mod dry_run;
pub mod eval;
pub mod experiment;
pub mod generate;
pub mod index;
pub mod model;
pub mod papers;
pub mod reproduce;
pub mod rollout;
pub mod score;
pub mod score_html;
pub mod task;
pub mod train;
pub mod view;
