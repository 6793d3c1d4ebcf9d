//! Public data sets: never part of the project, pulled by name from their own repositories.

use crate::fingerprint::Expected;
use crate::http::Client;
use crate::progress::{Event, Progress};
use crate::{Error, Hub, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The registry, a line a file.
const TABLE: &str = include_str!("datasets.tsv");

const ADVICE: &str = "GitHub may not be reachable from here: fetch the repository elsewhere and set LYCEUM_DATA to a \
                      folder that holds its files in the layout which `lyceum data list` shows";

/// A registered data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// What users call it: the last part of its folder.
    pub name: &'static str,
    /// Its folder below the data folder, such as `math/gsm8k`.
    pub folder: &'static str,
    /// Its files.
    pub files: Vec<DataFile>,
}

/// One file of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Path below the data folder.
    pub path: &'static str,
    /// Number of rows: exact, or for a file of which half is distributed with the project's data, of that half.
    pub rows: usize,
    /// Whether `rows` and `sha256` speak of the public file itself.
    pub whole: bool,
    /// SHA-256 of the public file, where it is known.
    pub sha256: Option<&'static str>,
    /// SPDX identifier, with remarks.
    pub licence: &'static str,
    /// GitHub repository, `owner/name`.
    pub repository: &'static str,
    /// The commit.
    pub commit: &'static str,
    /// Path in the repository.
    pub source: &'static str,
}

impl DataFile {
    fn parse(line: &'static str) -> Option<Self> {
        let columns: Vec<&str> = line.split('\t').collect();
        let [path, rows, share, sha256, licence, repository, commit, source] = columns.try_into().ok()?;
        let sha256 = (sha256 != "-").then_some(sha256);
        Some(Self {
            path,
            rows: rows.parse().ok()?,
            whole: share == "whole",
            sha256,
            licence,
            repository,
            commit,
            source,
        })
    }

    /// The public address, below `base`.
    fn url(&self, base: &str) -> String {
        let Self { repository, commit, source, .. } = self;
        format!("{}/{repository}/{commit}/{source}", base.trim_end_matches('/'))
    }
}

impl DataSet {
    /// All registered data sets, in the order of their names.
    pub fn all() -> Vec<Self> {
        let mut sets: BTreeMap<&str, Self> = BTreeMap::new();
        for file in TABLE.lines().filter_map(DataFile::parse) {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let name = folder.rsplit_once('/').map_or(folder, |(_, name)| name);
            sets.entry(name).or_insert_with(|| Self { name, folder, files: Vec::new() }).files.push(file);
        }
        sets.into_values().collect()
    }

    /// The data set called `name`.
    ///
    /// # Errors
    /// [`Error::UnknownData`], listing the names there are.
    pub fn find(name: &str) -> Result<Self> {
        let all = Self::all();
        let known = || all.iter().map(|set| set.name.to_owned()).collect();
        let found = all.iter().find(|set| set.name == name);
        found.cloned().ok_or_else(|| Error::UnknownData { name: name.into(), known: known() })
    }

    /// Licences of its files, each once.
    pub fn licences(&self) -> Vec<&'static str> {
        let mut licences: Vec<_> = self.files.iter().map(|file| file.licence).collect();
        licences.sort_unstable();
        licences.dedup();
        licences
    }

    fn missing_below(&self, root: &Path) -> Option<PathBuf> {
        self.files.iter().map(|file| root.join(file.path)).find(|path| !path.is_file())
    }
}

impl Hub {
    /// The folder that holds `set`'s files, if all are on this machine: below `LYCEUM_DATA`, or in the cache.
    ///
    /// # Errors
    /// [`Error::DataNotHere`] if not.
    pub fn data_path(&self, set: &DataSet) -> Result<PathBuf> {
        let roots = self.data.iter().cloned().chain([self.cache.join("data")]);
        let mut first_missing = None;
        for root in roots {
            match set.missing_below(&root) {
                None => return Ok(root.join(set.folder)),
                Some(path) => {
                    first_missing.get_or_insert(path);
                }
            }
        }
        Err(Error::DataNotHere { name: set.name.into(), missing: first_missing.unwrap_or_default() })
    }

    /// The same, pulling the files from their public repository to the cache if they are not here.
    ///
    /// # Errors
    /// [`Error::Http`] if they cannot be fetched, [`Error::Damaged`] if they are not what the registry says,
    /// [`Error::Io`].
    pub fn pull_data(&self, set: &DataSet, progress: &dyn Progress) -> Result<PathBuf> {
        if let Ok(folder) = self.data_path(set) {
            return Ok(folder);
        }
        let folder = self.cache.join("data").join(set.folder);
        self.make(&folder, progress, |temporary| self.fetch_data(set, temporary, progress))?;
        self.data_path(set)
    }

    fn fetch_data(&self, set: &DataSet, folder: &Path, progress: &dyn Progress) -> Result<()> {
        let client = Client::new(None, ADVICE);
        for file in &set.files {
            let url = file.url(&self.github);
            progress.event(Event::Begin { what: file.path, from: &url, total: None });
            let name = Path::new(file.path).file_name().unwrap_or_default();
            let expected = Expected { bytes: None, sha256: file.sha256 };
            let target = folder.join(name);
            client.file(&url, &target, expected, |bytes| progress.event(Event::Bytes(bytes)))?;
            if file.source.ends_with(".gz") && !file.path.ends_with(".gz") {
                unpack(&target)?;
            }
        }
        Ok(())
    }
}

/// Most bytes of an unpacked file.
const LONGEST_UNPACKED: u64 = 1 << 30;

/// Puts what a gzip file holds in its place.
fn unpack(path: &Path) -> Result<()> {
    use std::io::Read;
    let packed = std::fs::File::open(path).map_err(Error::io("unpack", path))?;
    let mut bytes = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(packed).take(LONGEST_UNPACKED);
    reader.read_to_end(&mut bytes).map_err(Error::io("unpack", path))?;
    std::fs::write(path, bytes).map_err(Error::io("unpack", path))
}

/// [`Hub::data_path`] by name, in the user's environment.
///
/// # Errors
/// As [`Hub::data_path`] and [`DataSet::find`].
pub fn path(name: &str) -> Result<PathBuf> {
    Hub::from_env()?.data_path(&DataSet::find(name)?)
}

/// [`Hub::pull_data`] by name, in the user's environment.
///
/// # Errors
/// As [`Hub::pull_data`] and [`DataSet::find`].
pub fn pull(name: &str, progress: &dyn Progress) -> Result<PathBuf> {
    Hub::from_env()?.pull_data(&DataSet::find(name)?, progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_file() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for line in lines {
            let file = DataFile::parse(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(file.whole, file.sha256.is_some(), "{line}");
            assert!(file.commit.len() == 12 && file.commit.chars().all(|c| c.is_ascii_hexdigit()), "{line}");
            assert_eq!(file.repository.split('/').count(), 2, "{line}");
            assert_eq!(file.path.split('/').count(), 3, "{line}");
            assert!(file.rows > 0 && file.path.split('/').all(|part| !part.starts_with('.')), "{line}");
            count += 1;
        }
        let all = DataSet::all();
        assert_eq!(all.iter().map(|set| set.files.len()).sum::<usize>(), count);
        for set in &all {
            assert!(
                set.files.iter().all(|file| file.path.starts_with(set.folder)),
                "{}: two folders",
                set.name
            );
        }
    }

    #[test]
    fn the_mathematics_sets_are_there() {
        let gsm8k = DataSet::find("gsm8k").unwrap();
        assert_eq!((gsm8k.folder, gsm8k.files.len(), gsm8k.licences()), ("math/gsm8k", 2, vec!["MIT"]));
        assert_eq!(
            gsm8k.files[0].url("https://raw.githubusercontent.com"),
            "https://raw.githubusercontent.com/openai/grade-school-math/3101c7d50724/grade_school_math/data/train.jsonl"
        );
        for (name, files) in [("mawps", 4), ("svamp", 1), ("math500", 1), ("mgsm", 11), ("xquad", 8)] {
            assert_eq!(DataSet::find(name).unwrap().files.len(), files, "{name}");
        }
        let message = DataSet::find("gsm9k").unwrap_err().to_string();
        assert!(message.contains("gsm9k") && message.contains("gsm8k"), "{message}");
    }
}
