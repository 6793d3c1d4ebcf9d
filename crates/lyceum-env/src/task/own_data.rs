//! `jsonl`: a user's own rows.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::keyed::is_heldout;
use super::options::read;
use super::question::{Asked, Question, QuestionOptions, QuestionTask};
use super::{Message, Role, Split};
use crate::answer::{ExtractRule, Rules};
use crate::error::{Error, Result};

const NAME: &str = "jsonl";
const HINT: &str = "a row is {\"prompt\": ..., \"answer\": ...} or {\"messages\": [{\"role\", \"content\"}, ...], \"answer\": ...}";

/// Options of the task `jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnDataOptions {
    /// The rows, one JSON object a line.
    pub data: PathBuf,
    /// Held-out rows; when absent, a share of `data` chosen by hash.
    #[serde(default)]
    pub heldout: Option<PathBuf>,
    /// Percent of `data` that is held out when there is no file of its own.
    #[serde(default = "heldout_percent")]
    pub heldout_percent: u64,
    /// The prompt, with `{question}` in it.
    #[serde(default = "prompt")]
    pub prompt: String,
    /// Where the final answer is looked for.
    #[serde(default = "rules")]
    pub extract: Vec<ExtractRule>,
    /// How answers are compared.
    #[serde(default)]
    pub rules: Rules,
}

fn heldout_percent() -> u64 {
    20
}

fn prompt() -> String {
    "{question}".to_owned()
}

fn rules() -> Vec<ExtractRule> {
    QuestionOptions::default().extract
}

/// A user's row. `demonstration` is a full solution, for supervised fine-tuning.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    answer: Option<Value>,
    demonstration: Option<String>,
    id: Option<Value>,
}

/// A task of a user's own rows.
pub fn own_data(options: Map<String, Value>) -> Result<QuestionTask> {
    let options: OwnDataOptions = read(NAME, options)?;
    if options.heldout_percent >= 100 {
        return Err(Error::option(NAME, "heldout_percent", "must be less than 100"));
    }
    let rows = read_rows(&options.data)?;
    let (train, heldout) = match &options.heldout {
        Some(path) => (rows, read_rows(path)?),
        None => rows.into_iter().partition(|row| !is_heldout(&text_of(row), options.heldout_percent)),
    };
    let splits = vec![(Split::Train, train), (Split::Heldout, heldout)];
    let OwnDataOptions { prompt, extract, rules, .. } = options;
    QuestionTask::new(
        NAME,
        "your own rows",
        QuestionOptions { prompt, extract, rules, calculator: None },
        splits,
    )
}

fn text_of(row: &Question) -> String {
    match &row.asked {
        Asked::Question(text) => text.clone(),
        Asked::Conversation(messages) => {
            messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n")
        }
    }
}

fn read_rows(path: &Path) -> Result<Vec<Question>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
        remedy: "give the path of a JSONL file in the option `data`".to_owned(),
    })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let rows = lines.map(|(index, line)| {
        let refuse = |message: String| Error::row(path, index + 1, message, HINT);
        let row: Row = serde_json::from_str(line).map_err(|error| refuse(error.to_string()))?;
        question(row, index).map_err(refuse)
    });
    let rows: Vec<Question> = rows.collect::<Result<_>>()?;
    if rows.is_empty() {
        return Err(Error::Data { path: path.to_owned(), message: format!("holds no row; {HINT}") });
    }
    Ok(rows)
}

fn question(row: Row, index: usize) -> std::result::Result<Question, String> {
    let plain = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let mut demonstration = row.demonstration;
    let asked = match (row.prompt, row.messages) {
        (Some(prompt), None) if !prompt.trim().is_empty() => Asked::Question(prompt),
        (None, Some(mut messages)) if !messages.is_empty() => {
            // A conversation that ends in an answer brings its demonstration with it.
            if messages.last().is_some_and(|last| last.role == Role::Assistant) && demonstration.is_none() {
                demonstration = messages.pop().map(|last| last.content);
            }
            if messages.is_empty() {
                return Err("nobody asks anything".to_owned());
            }
            Asked::Conversation(messages)
        }
        (Some(_), Some(_)) => return Err("both `prompt` and `messages`".to_owned()),
        _ => return Err("neither a `prompt` nor `messages`, or an empty one".to_owned()),
    };
    Ok(Question {
        id: row.id.map_or_else(|| index.to_string(), plain),
        asked,
        answer: row.answer.map(plain).unwrap_or_default(),
        demonstration,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Task;

    fn open(text: &str) -> Result<QuestionTask> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.jsonl");
        std::fs::write(&path, text).unwrap();
        let options = serde_json::json!({"data": path, "heldout_percent": 0});
        own_data(options.as_object().unwrap().clone())
    }

    #[test]
    fn both_shapes_of_rows() {
        let task = open(concat!(
            "{\"prompt\": \"2+2\", \"answer\": 4}\n\n",
            "{\"messages\": [{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"yo\"}]}\n",
        ))
        .unwrap();
        let problem = |i| task.problem(Split::Train, 0, i).unwrap();
        assert_eq!((problem(0).plain(), problem(0).answer), ("2+2".to_owned(), "4".to_owned()));
        assert_eq!((problem(1).plain(), problem(1).demonstration), ("hi".to_owned(), Some("yo".to_owned())));
    }

    #[test]
    fn bad_rows_are_named_by_line() {
        for (text, expected) in [
            ("{\"prompt\": \"a\"}\n{\"question\": \"b\"}\n", "my.jsonl:2: unknown field `question`"),
            ("{\"answer\": 1}\n", "my.jsonl:1: neither a `prompt` nor `messages`"),
            ("[1]\nx", "my.jsonl:1"),
            ("\n", "holds no row"),
        ] {
            let message = open(text).err().unwrap().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
