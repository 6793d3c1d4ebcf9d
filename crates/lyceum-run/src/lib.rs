//! Run folders: recipes, checkpoints, resume, metrics, reports, progress, interruption.
#![forbid(unsafe_code)]

mod error;
mod recipe;

pub use error::{Error, Result};
pub use recipe::{Origin, Recipe};
