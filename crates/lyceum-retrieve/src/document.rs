//! What is indexed and what is asked, as JSON lines in the field's usual names.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;

use lyceum_trace::LineReader;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// A text with its name and whatever else is known of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Its name in the index and in runs.
    pub id: String,
    /// Title; found as the text is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// The text.
    pub text: String,
    /// Everything else of its line.
    #[serde(default, flatten, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, Value>,
}

impl Document {
    /// What is searched: title and text.
    #[must_use]
    pub fn body(&self) -> String {
        if self.title.is_empty() { self.text.clone() } else { format!("{}\n{}", self.title, self.text) }
    }
}

/// Reads a corpus, a JSON object a line: the name under `id`, `_id`, `docid` or `doc_id` (its line's number where there is
/// none), the text under `text`, `contents`, `content` or `body`, perhaps a `title`; what else there is is kept.
///
/// # Errors
/// [`Error::Line`] for a line that is no such object or a name that came before; [`Error::Io`].
pub fn read_corpus(path: &Path) -> Result<Vec<Document>> {
    let mut seen = BTreeMap::<String, usize>::new();
    read_lines(path, |line, mut object| {
        let id =
            take_text(&mut object, &["id", "_id", "docid", "doc_id"]).unwrap_or_else(|| line.to_string());
        let text = take_text(&mut object, &["text", "contents", "content", "body"])
            .ok_or("no text; a document is {\"id\": ..., \"title\": ..., \"text\": ...}")?;
        let title = take_text(&mut object, &["title"]).unwrap_or_default();
        if id.is_empty() || id.contains(char::is_whitespace) {
            return Err(format!(
                "id {id:?} is empty or has white space, which no TREC run could hold; rename it"
            ));
        }
        if let Some(before) = seen.insert(id.clone(), line) {
            return Err(format!("id {id:?} stands in line {before} already; names must differ"));
        }
        Ok(Document { id, title, text, meta: object.into_iter().collect() })
    })
}

/// A question with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its name in runs.
    pub id: String,
    /// The question.
    pub text: String,
}

/// Reads queries, a JSON object a line: the name under `id`, `_id`, `qid` or `query_id` (its line's number where there is
/// none), the question under `query`, `text` or `question`.
///
/// # Errors
/// As [`read_corpus`].
pub fn read_queries(path: &Path) -> Result<Vec<Query>> {
    let mut seen = std::collections::BTreeSet::new();
    read_lines(path, |line, mut object| {
        let id =
            take_text(&mut object, &["id", "_id", "qid", "query_id"]).unwrap_or_else(|| line.to_string());
        let text = take_text(&mut object, &["query", "text", "question"])
            .ok_or("no query; a line is {\"id\": ..., \"query\": ...}")?;
        if id.is_empty() || id.contains(char::is_whitespace) || !seen.insert(id.clone()) {
            return Err(format!("id {id:?} is empty, has white space or came before; names must differ"));
        }
        Ok(Query { id, text })
    })
}

type Object = serde_json::Map<String, Value>;

fn take_text(object: &mut Object, names: &[&str]) -> Option<String> {
    let name =
        names.iter().find(|name| matches!(object.get(**name), Some(Value::String(_) | Value::Number(_))))?;
    match object.remove(*name)? {
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn read_lines<T>(
    path: &Path,
    mut read: impl FnMut(usize, Object) -> std::result::Result<T, String>,
) -> Result<Vec<T>> {
    let file = std::fs::File::open(path).map_err(|source| Error::Io {
        doing: "read",
        path: path.to_path_buf(),
        source,
    })?;
    let mut lines = LineReader::new(BufReader::new(file), path);
    let mut all = Vec::new();
    while let Some(line) = lines.next_line()? {
        let number = line.number as usize;
        let problem = |problem| Error::Line { file: path.display().to_string(), line: number, problem };
        let text = line.bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line.bytes);
        let object: Object = serde_json::from_slice(text).map_err(|error| problem(error.to_string()))?;
        all.push(read(number, object).map_err(problem)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(text: &str) -> Result<Vec<Document>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.jsonl");
        std::fs::write(&path, text).unwrap();
        read_corpus(&path)
    }

    #[test]
    fn usual_names_are_understood() {
        let found = corpus(
            "{\"_id\": 7, \"contents\": \"x\", \"year\": 2001}\n\n{\"text\": \"y\", \"title\": \"T\"}",
        )
        .unwrap();
        assert_eq!((found[0].id.as_str(), found[0].meta["year"].as_i64()), ("7", Some(2001)));
        assert_eq!((found[1].id.as_str(), found[1].body().as_str()), ("3", "T\ny"));
    }

    #[test]
    fn bad_lines_are_named() {
        let told = |text: &str| corpus(text).unwrap_err().to_string();
        assert!(told("{\"text\": \"a\"}\n[1]\n").contains("c.jsonl:2: "));
        assert!(told("{\"id\": \"a\"}").contains("no text"));
        assert!(
            told("{\"id\":\"a\",\"text\":\"\"}\n{\"id\":\"a\",\"text\":\"\"}").contains("line 1 already")
        );
        assert!(told("{\"id\":\"a b\",\"text\":\"\"}").contains("white space"));
    }
}
