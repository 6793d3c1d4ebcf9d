use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::checkpoint::remembered_best;
use crate::digest::Digest;
use crate::{Alarm, Layout, Result, Row, read_rows};

/// All that is shown of a run, read from its folder. Reading needs no lock: a run can be watched while it trains.
#[derive(Debug)]
pub struct RunSummary {
    pub(crate) name: String,
    pub(crate) root: PathBuf,
    pub(crate) recipe: String,
    pub(crate) rows: Vec<Row>,
    /// Files of traces by name, `train` before others.
    pub(crate) traces: Vec<(String, Digest)>,
    /// Step of the best checkpoint.
    pub(crate) best: Option<u64>,
}

impl RunSummary {
    /// Reads a run folder.
    ///
    /// # Errors
    /// [`Error::NotARun`](crate::Error::NotARun), [`Error::Io`](crate::Error::Io),
    /// [`Error::Line`](crate::Error::Line) for damaged metrics.
    pub fn read(layout: &Layout) -> Result<Self> {
        let layout = Layout::existing(layout.root())?;
        let recipe = std::fs::read_to_string(layout.recipe())
            .map_err(crate::Error::io("read the recipe", &layout.recipe()))?;
        let mut traces = Vec::new();
        for path in layout.trace_files()? {
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            traces.push((name, Digest::of_file(&path)?));
        }
        traces.sort_by_key(|(name, _)| (name != "train", name.clone()));
        let best =
            layout.checkpoint_steps()?.last().and_then(|&newest| remembered_best(&layout.checkpoint(newest)));
        let rows = read_rows(&layout.metrics())?;
        Ok(Self { name: layout.name(), root: layout.root().to_path_buf(), recipe, rows, traces, best })
    }

    /// Every alarm with the step it was raised at.
    pub(crate) fn alarms(&self) -> impl Iterator<Item = (u64, &Alarm)> {
        self.rows.iter().flat_map(|row| row.alarms.iter().map(move |alarm| (row.step, alarm)))
    }

    /// One entry a component and held-out metric: the first and the last step of its alarms, and the last one.
    pub(crate) fn alarm_spans(&self) -> Vec<(u64, u64, &Alarm)> {
        let mut spans = BTreeMap::new();
        for (step, alarm) in self.alarms() {
            let span = spans.entry((&alarm.component, &alarm.held_out)).or_insert((step, step, alarm));
            (span.1, span.2) = (step, alarm);
        }
        spans.into_values().collect()
    }

    /// Names of all evaluations.
    pub(crate) fn evaluations(&self) -> BTreeSet<&str> {
        self.rows.iter().flat_map(|row| row.evals.keys().map(String::as_str)).collect()
    }

    /// The command that takes the run up again.
    pub(crate) fn resume_command(&self) -> String {
        format!("lyceum train --resume {}", self.root.display())
    }
}
