//! Run folders: recipes, checkpoints, resume, metrics, reports, progress, interruption.
#![forbid(unsafe_code)]

mod alarm;
mod checkpoint;
mod digest;
mod durable;
mod error;
mod events;
mod folder;
mod interrupt;
mod journal;
mod layout;
mod lock;
mod metrics;
mod progress;
mod recipe;
mod report;
mod series;
mod summary;
mod svg;
mod view;

pub use alarm::{Alarm, AlarmRule, Symptom};
pub use checkpoint::{Best, Checkpoint, CheckpointWriter, sha256_of_file};
pub use durable::write_file;
pub use error::{Error, Result, hint};
pub use folder::{Resumed, RunFolder};
pub use interrupt::Interrupt;
pub use journal::Journal;
pub use layout::Layout;
pub use metrics::{MetricsLog, Row, read_rows};
pub use progress::Progress;
pub use recipe::{Origin, Recipe, nearest};
pub use report::{number, report, write_report};
pub use series::{Points, binned};
pub use summary::RunSummary;
pub use svg::{drawable, escaped, ticks};
pub use view::{view, view_text};
