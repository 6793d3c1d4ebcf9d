//! Looking up texts by key.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::{Reply, Tool};
use crate::Result;
use crate::error::Error;

/// Finds the text of a key, whatever its case and the spaces around it.
pub struct Search {
    texts: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    key: String,
    text: String,
}

impl Search {
    /// Over (key, text); the last text of a key counts.
    #[must_use]
    pub fn new(documents: Vec<(String, String)>) -> Self {
        Self { texts: documents.into_iter().map(|(key, text)| (fold(&key), text)).collect() }
    }

    /// Over a JSONL file of `{"key", "text"}`.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Row`] with the line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
            remedy: "give the path of a JSONL file in the tool's `data`".to_owned(),
        })?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let row = |(index, line)| {
            let row: Row = serde_json::from_str(line).map_err(|error| {
                Error::row(path, index + 1, error.to_string(), "a row is {\"key\": ..., \"text\": ...}")
            })?;
            Ok((row.key, row.text))
        };
        Ok(Self::new(lines.map(row).collect::<Result<_>>()?))
    }
}

fn fold(key: &str) -> String {
    key.trim().to_lowercase()
}

impl Tool for Search {
    fn name(&self) -> &str {
        "search"
    }

    fn description(&self) -> &str {
        "the text of a key"
    }

    fn answer(&self, argument: &str) -> Reply {
        Reply::Said(self.texts.get(&fold(argument)).cloned().unwrap_or_else(|| "nothing found".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_and_bad_rows_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts.jsonl");
        std::fs::write(&path, "{\"key\": \"Lima\", \"text\": \"a city\"}\n\n{\"key\": 3}\n").unwrap();
        let refused = Search::read(&path).err().unwrap().to_string();
        assert!(refused.contains("facts.jsonl:3"), "{refused}");
        std::fs::write(&path, "{\"key\": \"Lima\", \"text\": \"a city\"}\n").unwrap();
        let search = Search::read(&path).unwrap();
        assert_eq!(search.answer(" lima\n"), Reply::Said("a city".into()));
        assert_eq!(search.answer("Rome"), Reply::Said("nothing found".into()));
    }
}
