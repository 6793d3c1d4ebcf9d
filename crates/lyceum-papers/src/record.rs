//! What is kept of a finished run: one small file, from which every table and figure can be made again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lyceum_run::{Points, Row, binned};
use serde::{Deserialize, Serialize};

use crate::measure::within;
use crate::{Error, Measured, Result, Study, measure};

/// A finished run of an arm with a seed: `runs/<arm>-<seed>.json` in the results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The arm.
    pub arm: String,
    /// The seed.
    pub seed: u64,
    /// SHA-256 of all that the run depends on: another key means another run.
    pub key: String,
    /// How it ended.
    #[serde(flatten)]
    pub ending: Ending,
    /// Its curves, thinned, by what they are of.
    #[serde(default)]
    pub curves: BTreeMap<String, Points>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It came to its end.
    Finished {
        /// Rounds of training.
        rounds: u64,
        /// Time by the clock, its last sitting alone.
        seconds: f64,
        /// By metric.
        metrics: BTreeMap<String, Measured>,
    },
    /// It did not, and this is why.
    Failed(String),
}

impl Record {
    /// Reads what a study asks off a run's rows. `most` is the number of points kept of a curve.
    #[must_use]
    pub fn of_rows(
        study: &Study,
        rows: &[Row],
        most: usize,
    ) -> (BTreeMap<String, Measured>, BTreeMap<String, Points>) {
        let metrics = study.file.metric.iter();
        let metrics = metrics
            .map(|m| (m.name.clone(), measure(within(rows, m.within.as_ref()), &m.of, m.take)))
            .collect();
        let curves = study.sources().into_iter();
        let curves =
            curves.map(|of| (of.to_owned(), thinned(&crate::measure::curve(rows, of), most))).collect();
        (metrics, curves)
    }

    /// Whether the run came to its end and has all that the study asks of it now.
    #[must_use]
    pub fn answers(&self, study: &Study) -> bool {
        let Ending::Finished { metrics, .. } = &self.ending else { return false };
        study.file.metric.iter().all(|metric| metrics.contains_key(&metric.name))
            && study.sources().into_iter().all(|of| self.curves.contains_key(of))
    }

    /// Where the record of an arm and seed is.
    #[must_use]
    pub fn path(results: &Path, arm: &str, seed: u64) -> PathBuf {
        results.join("runs").join(format!("{arm}-{seed}.json"))
    }

    /// Reads a record; `None` if there is none, or one that can't be understood and so counts as none.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Writes it: the old or the new is there, never half of either.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Run`].
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
        }
        Ok(lyceum_run::write_file(path, &serde_json::to_vec(self)?)?)
    }
}

/// At most so many points, each the mean of its neighbours, with six significant digits: enough for a drawing.
fn thinned(points: &[(f64, f64)], most: usize) -> Points {
    let short = |value: f64| format!("{value:.5e}").parse().unwrap_or(value);
    binned(points, most).into_iter().map(|(step, value)| (short(step), short(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_few_points_whole_and_means_of_many() {
        let few = [(0.0, 1.0), (5.0, 2.0)];
        assert_eq!(thinned(&few, 2), few);
        let many: Points = (0..1000).map(|step| (f64::from(step), f64::from(step % 10))).collect();
        let kept = thinned(&many, 100);
        assert_eq!((kept.len(), kept[0], kept[99]), (100, (4.5, 4.5), (994.5, 4.5)));
        assert_eq!(thinned(&[(1.0, 1.0 / 3.0)], 5), [(1.0, 0.333333)]);
    }

    #[test]
    fn survives_its_file_and_a_broken_file_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = Record::path(folder.path(), "min", 3);
        let metrics =
            BTreeMap::from([("steps".into(), Measured { value: Some(1.5), climb: vec![(0, 0.5)] })]);
        let record = Record {
            arm: "min".into(),
            seed: 3,
            key: "k".into(),
            ending: Ending::Finished { rounds: 7, seconds: 1.25, metrics },
            curves: BTreeMap::from([("a/b".into(), vec![(0.0, 0.5)])]),
        };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path), Some(record.clone()));
        let failed = Record { ending: Ending::Failed("no disk".into()), ..record };
        failed.write(&path).unwrap();
        assert_eq!(Record::read(&path), Some(failed));
        std::fs::write(&path, "{\"arm\": \"mi").unwrap();
        assert_eq!(Record::read(&path), None);
    }
}
