//! How a paper's claim becomes a command.
//!
//! A *study* is a folder: `study.toml` says which recipes are run with which changes and how often, which numbers are
//! read off the runs, and what the paper claims about them. [`Study`] reads it, [`Plan`] lists the runs, [`run_plan`]
//! runs them as processes of their own, [`Summary`] judges the claims. [`PAPERS`] are the papers the program knows.
#![forbid(unsafe_code)]

mod child;
mod error;
mod figure;
mod measure;
mod placeholder;
mod plan;
mod record;
mod registry;
mod runner;
mod study;
mod summary;
mod tables;
mod verdict;

pub use child::Program;
pub use error::{Error, Result};
pub use figure::figure;
pub use measure::{Climb, Measured, measure, updates_to_reach};
pub use placeholder::fill;
pub use plan::{Options, Plan, Prepare, Run};
pub use record::{Ending, Record};
pub use registry::{PAPERS, Paper, Status, paper};
pub use runner::{Progress, run_plan};
pub use study::{Arm, Claim, Figure, Metric, Preparation, Quick, Rule, Runs, Study, StudyFile, Take, Within};
pub use summary::{ArmSummary, Cell, ClaimSummary, Failure, Summary, write_results};
pub use tables::{aligned, markdown, text};
pub use verdict::{LEAST_SEEDS, Verdict, decide};
