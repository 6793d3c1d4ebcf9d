//! Tasks over public data sets: GSM8K, MAWPS, SVAMP, MATH-500.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Split;
use super::keyed::is_heldout;
use super::options::read;
use super::question::{Asked, Question, QuestionOptions, QuestionTask};
use crate::error::{Error, Result};

const HELDOUT_PERCENT: u64 = 20;
const REMEDY: &str = "fetch the data set again (`lyceum data pull`), or point LYCEUM_DATA at a whole copy";

/// Grade-school word problems: its own train and test rows.
pub fn gsm8k(options: Map<String, Value>) -> Result<QuestionTask> {
    let options: QuestionOptions = read("gsm8k", options)?;
    let folder = lyceum_hub::data::pull("gsm8k", &lyceum_hub::Silent)?;
    let rows = |file: &str| -> Result<Vec<Question>> {
        let rows: Vec<Gsm8k> = read_lines(&folder.join(file))?;
        let question = |(index, row): (usize, Gsm8k)| {
            let (solution, answer) = row.answer.rsplit_once("####").unwrap_or(("", &row.answer));
            let answer = answer.trim().replace(',', "");
            let solution = with_calculator(solution.trim(), options.calculator.as_deref());
            Question {
                id: index.to_string(),
                demonstration: Some(format!("{solution}\nThe answer is \\boxed{{{answer}}}.")),
                asked: Asked::Question(row.question),
                answer,
            }
        };
        Ok(rows.into_iter().enumerate().map(question).collect())
    };
    let splits = vec![(Split::Train, rows("train.jsonl")?), (Split::Heldout, rows("test.jsonl")?)];
    QuestionTask::new("gsm8k", "grade-school word problems (GSM8K)", options.clone(), splits)
}

/// One- to three-step word problems, four files pooled. It has no split of its own: rows are parted by the hash of
/// their text with numbers masked, so that a template is on one side only.
pub fn mawps(options: Map<String, Value>) -> Result<QuestionTask> {
    let folder = lyceum_hub::data::pull("mawps", &lyceum_hub::Silent)?;
    let mut splits = vec![(Split::Train, Vec::new()), (Split::Heldout, Vec::new())];
    for name in ["addsub", "multiarith", "singleeq", "singleop"] {
        let rows: Vec<Mawps> = read_lines(&folder.join(format!("{name}.jsonl")))?;
        for (index, row) in rows.into_iter().enumerate() {
            let heldout = is_heldout(&masked(&row.input), HELDOUT_PERCENT);
            let answer = number(row.target);
            let demonstration = Some(format!("The answer is \\boxed{{{answer}}}."));
            let id = format!("{name}-{index}");
            splits[usize::from(heldout)].1.push(Question {
                id,
                asked: Asked::Question(row.input),
                answer,
                demonstration,
            });
        }
    }
    QuestionTask::new("mawps", "one- to three-step word problems (MAWPS)", read("mawps", options)?, splits)
}

/// Word problems varied to catch shortcuts. It has no split of its own: rows are parted by the hash of the body with
/// numbers masked, so that all questions on one story are on one side.
pub fn svamp(options: Map<String, Value>) -> Result<QuestionTask> {
    let options: QuestionOptions = read("svamp", options)?;
    let folder = lyceum_hub::data::pull("svamp", &lyceum_hub::Silent)?;
    let rows: Vec<Svamp> = read_lines(&folder.join("test.jsonl"))?;
    let mut splits = vec![(Split::Train, Vec::new()), (Split::Heldout, Vec::new())];
    for row in rows {
        let heldout = is_heldout(&masked(&row.body), HELDOUT_PERCENT);
        let answer = number(row.answer);
        let sum = row.equation.replace(".0", "");
        let sum = match &options.calculator {
            Some(tag) => format!("<{tag}>{}</{tag}>", sum.trim()),
            None => format!("{} = {answer}\n", sum.trim()),
        };
        splits[usize::from(heldout)].1.push(Question {
            id: row.id,
            asked: Asked::Question(format!("{} {}", row.body.trim(), row.question.trim())),
            demonstration: Some(format!("{sum}The answer is \\boxed{{{answer}}}.")),
            answer,
        });
    }
    QuestionTask::new("svamp", "word problems varied to catch shortcuts (SVAMP)", options, splits)
}

/// Competition problems with their solutions; held-out rows only.
pub fn math500(options: Map<String, Value>) -> Result<QuestionTask> {
    let folder = lyceum_hub::data::pull("math500", &lyceum_hub::Silent)?;
    let rows: Vec<Math> = read_lines(&folder.join("test.jsonl"))?;
    let question = |row: Math| Question {
        id: row.unique_id,
        asked: Asked::Question(row.problem),
        answer: row.answer,
        demonstration: Some(row.solution),
    };
    let splits = vec![(Split::Heldout, rows.into_iter().map(question).collect())];
    let mut options: QuestionOptions = read("math500", options)?;
    if options == QuestionOptions::default() {
        options.prompt = "{question}\nThink step by step. End with the final answer in \\boxed{}.".to_owned();
    }
    QuestionTask::new("math500", "competition mathematics (MATH-500)", options, splits)
}

#[derive(Deserialize)]
struct Gsm8k {
    question: String,
    answer: String,
}

#[derive(Deserialize)]
struct Mawps {
    input: String,
    target: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Svamp {
    body: String,
    question: String,
    equation: String,
    answer: f64,
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize, Serialize)]
struct Math {
    problem: String,
    solution: String,
    answer: String,
    unique_id: String,
}

/// Reads a file of one JSON object a line.
pub(super) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
        remedy: REMEDY.to_owned(),
    })?;
    let rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    rows.map(|(index, line)| {
        serde_json::from_str(line).map_err(|error| Error::row(path, index + 1, error.to_string(), REMEDY))
    })
    .collect()
}

/// The text with every number replaced by one sign: rows of one template become equal.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let mut digits = false;
        for c in word.chars() {
            if c.is_ascii_digit() || (digits && matches!(c, '.' | ',')) {
                if !digits {
                    out.push('#');
                }
                digits = true;
            } else {
                digits = false;
                out.extend(c.to_lowercase());
            }
        }
        out.push(' ');
    }
    out
}

/// A whole number without its decimal point.
fn number(value: f64) -> String {
    format!("{value}")
}

/// GSM8K's solutions with their calculator marks `<<48/2=24>>` as calls of a tool, or without them.
fn with_calculator(text: &str, tag: Option<&str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<<") {
        out.push_str(before);
        let (mark, after) = after.split_once(">>").unwrap_or(("", ""));
        if let (Some(tag), Some((sum, _))) = (tag, mark.split_once('=')) {
            out.push_str(&format!("<{tag}>{sum}</{tag}>"));
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_masked_and_the_rest_is_kept() {
        assert_eq!(masked("Sam had 1,250.5 dimes; 3 fell."), "sam had # dimes; # fell. ");
        assert_eq!(masked("A 12 b"), masked("a  7 B"));
    }

    #[test]
    fn whole_numbers_have_no_point() {
        assert_eq!((number(3.0), number(2.5)), ("3".to_owned(), "2.5".to_owned()));
    }

    #[test]
    fn calculator_marks_go() {
        let clips = |tag| with_calculator("48/2 = <<48/2=24>>24 clips", tag);
        assert_eq!(clips(None), "48/2 = 24 clips");
        assert_eq!(clips(Some("c")), "48/2 = <c>48/2</c>24 clips");
    }
}
