use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use lyceum_stats::Estimate;
use lyceum_trace::{LineReader, LineWriter};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Alarm, Error, Layout, Result, events::EventWriter};

/// What one step of a run measured: a line of `metrics.jsonl`.
///
/// Names have the form `group/name` (`reward/verifier`, `policy/kl`, `held_out/accuracy`); viewers sort by group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The step, from 1; 0 is the state before training.
    pub step: u64,
    /// Numbers that are the same in every run of one recipe. NaN (`null` in JSON) is a number that broke.
    #[serde(default, deserialize_with = "null_is_nan")]
    pub metrics: BTreeMap<String, f64>,
    /// Evaluations with their intervals.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evals: BTreeMap<String, Estimate>,
    /// Alarms raised at this step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<Alarm>,
    /// What a clock decides: seconds, tokens a second. Two runs differ in nothing else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_nan")]
    pub wall: BTreeMap<String, f64>,
}

impl Row {
    /// An empty row.
    #[must_use]
    pub fn new(step: u64) -> Self {
        Self { step, ..Self::default() }
    }

    /// Adds a metric.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        self.metrics.insert(name.into(), value);
    }

    /// Adds a clock reading.
    pub fn set_wall(&mut self, name: impl Into<String>, value: f64) {
        self.wall.insert(name.into(), value);
    }
}

fn null_is_nan<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeMap<String, f64>, D::Error> {
    let values = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

/// Writes rows to `metrics.jsonl` and to TensorBoard's event file.
#[derive(Debug)]
pub struct MetricsLog {
    lines: LineWriter,
    events: EventWriter,
}

impl MetricsLog {
    /// Opens both files for appending. When resuming, only after [`RunFolder::resume`](crate::RunFolder::resume).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(layout: &Layout) -> Result<Self> {
        let (lines, _) = LineWriter::append(&layout.metrics())?;
        Ok(Self { lines, events: EventWriter::append(&layout.events())? })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, row: &Row) -> Result<()> {
        self.lines.write(row)?;
        let numbers = row.metrics.iter().chain(&row.wall).map(|(name, value)| (name.clone(), *value));
        let evals = row.evals.iter().flat_map(|(name, estimate)| {
            [("", estimate.mean), ("/low", estimate.low), ("/high", estimate.high)]
                .map(|(end, value)| (format!("{name}{end}"), value))
        });
        self.events.scalars(row.step, numbers.chain(evals))
    }
}

/// Reads all rows of a `metrics.jsonl`; a torn last line counts as not yet written, a missing file as empty.
///
/// # Errors
/// [`Error::Io`]; [`Error::Line`] for a line that is no row.
pub fn read_rows(path: &Path) -> Result<Vec<Row>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let mut lines = LineReader::new(BufReader::new(file), path);
    let mut rows = Vec::new();
    while let Some(line) = lines.next_line()? {
        match serde_json::from_slice(line.bytes) {
            Ok(row) => rows.push(row),
            Err(_) if !line.complete => break,
            Err(error) => {
                return Err(Error::Line {
                    path: path.to_path_buf(),
                    line: line.number,
                    message: error.to_string(),
                });
            }
        }
    }
    Ok(rows)
}
