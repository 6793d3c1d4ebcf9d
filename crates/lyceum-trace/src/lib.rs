//! The trace: one record for rollouts, agent runs and evaluation items.
//!
//! A [`Trace`] is a tree of model [`Call`]s with what came of them: rewards by component, cost, faults. It is one
//! line of JSON, readable with `jq`:
//!
//! ```sh
//! jq -r 'select(.total == 1) | .calls[].parts[] | select(.source == "sampled").text' traces/train.jsonl
//! jq -s '[.[].faults[]?.boundary] | group_by(.) | map({(.[0]): length}) | add' traces/train.jsonl
//! ```
//!
//! Training picks calls out of traces, reasoning writes them, evaluation scores them, the viewer shows them.
//! Everything a clock decides is under the one key `wall`, so two runs of one recipe compare equal without it
//! ([`Trace::same_content`]).
//!
//! Files hold one trace a line: [`Reader`] streams them and survives hostile bytes, [`Writer`] appends and
//! repairs the torn tail which a killed process leaves. Both stand on [`LineReader`] and [`LineWriter`], which
//! serve any other file of JSON lines as well.
#![forbid(unsafe_code)]

mod error;
mod file;
mod lines;
mod record;
mod tokens;

pub use error::{Error, Result};
pub use file::{Reader, Writer, parse_line};
pub use lines::{Line, LineReader, LineWriter, MAX_LINE, Repair};
pub use record::{Boundary, Call, Content, Cost, Fault, Finish, Part, Problem, Score, Trace, VERSION, Wall};
pub use tokens::{Runs, Sampling, Source, TokenRecord};
