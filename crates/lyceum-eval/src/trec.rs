//! TREC's file formats: runs (`query Q0 document rank score tag`) and relevance judgements (`query 0 document grade`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::{Error, Result};

/// Judgements: query to document to grade. A grade of 0 or less is judged and not relevant.
pub type Qrels = BTreeMap<String, BTreeMap<String, i64>>;

/// A run: query to the documents that were found, with their scores, in the order of the file.
pub type Run = BTreeMap<String, Vec<(String, f64)>>;

/// Reads a run. The rank column is not looked at: as in trec_eval, the order is that of the scores ([`crate::retrieval::rank`]).
///
/// # Errors
/// [`Error::Line`] for a line without six fields, a score that is not a number, or a document that a query has twice.
///
/// ```
/// let run = lyceum_eval::trec::read_run("run", "q1 Q0 d2 1 3.5 me\nq1 Q0 d1 2 1e0 me\n").unwrap();
/// assert_eq!(run["q1"], [("d2".to_string(), 3.5), ("d1".to_string(), 1.0)]);
/// ```
pub fn read_run(file: &str, text: &str) -> Result<Run> {
    let mut run = Run::new();
    let mut seen = std::collections::BTreeSet::new();
    for (line, fields) in lines(text) {
        let problem = |problem: String| Error::Line { file: file.into(), line, problem };
        let [query, _, document, _, score, _] = fields[..] else {
            let found = fields.len();
            return Err(problem(format!("{found} fields; a run has six: query Q0 document rank score tag")));
        };
        let score: f64 = score
            .parse()
            .ok()
            .filter(|score: &f64| !score.is_nan())
            .ok_or_else(|| problem(format!("{score:?} is no score; the fifth field must be a number")))?;
        if !seen.insert((query, document)) {
            return Err(problem(format!("document {document} stands twice under query {query}; keep one")));
        }
        run.entry(query.into()).or_default().push((document.into(), score));
    }
    Ok(run)
}

/// Reads judgements.
///
/// # Errors
/// [`Error::Line`] for a line without four fields, a grade that is not an integer, or a document that is judged twice
/// for a query with different grades.
///
/// ```
/// let qrels = lyceum_eval::trec::read_qrels("qrels", "q1 0 d1 2\nq1 0 d2 0\n").unwrap();
/// assert_eq!(qrels["q1"]["d1"], 2);
/// ```
pub fn read_qrels(file: &str, text: &str) -> Result<Qrels> {
    let mut qrels = Qrels::new();
    for (line, fields) in lines(text) {
        let problem = |problem: String| Error::Line { file: file.into(), line, problem };
        let [query, _, document, grade] = fields[..] else {
            let found = fields.len();
            return Err(problem(format!("{found} fields; judgements have four: query 0 document grade")));
        };
        let grade: i64 = grade
            .parse()
            .map_err(|_| problem(format!("{grade:?} is no grade; the fourth field must be an integer")))?;
        let known = qrels.entry(query.into()).or_default().insert(document.into(), grade);
        if known.is_some_and(|known| known != grade) {
            return Err(problem(format!("document {document} has two grades under query {query}; keep one")));
        }
    }
    Ok(qrels)
}

/// Writes a run, best first in every query, ranks from 1.
#[must_use]
pub fn write_run(run: &Run, tag: &str) -> String {
    let mut text = String::new();
    for (query, found) in run {
        for (index, (document, score)) in crate::retrieval::rank(found).into_iter().enumerate() {
            _ = writeln!(text, "{query} Q0 {document} {} {score} {tag}", index + 1);
        }
    }
    text
}

/// Lines with their numbers and fields; empty ones are passed over.
fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered =
        text.lines().enumerate().map(|(index, line)| (index + 1, line.split_whitespace().collect()));
    numbered.filter(|(_, fields): &(usize, Vec<&str>)| !fields.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lines_are_named() {
        let told = |text: &str| read_run("a.trec", text).unwrap_err().to_string();
        assert!(told("q Q0 d 1 2\n").starts_with("a.trec:1: 5 fields"));
        assert!(told("\nq Q0 d 1 x t\n").starts_with("a.trec:2: \"x\""));
        assert!(told("q Q0 d 1 NaN t\n").contains("no score"));
        assert!(told("q Q0 d 1 1 t\nq Q0 d 2 0 t\n").contains("twice"));
        let told = |text: &str| read_qrels("q", text).unwrap_err().to_string();
        assert!(told("q 0 d\n").contains("four"));
        assert!(told("q 0 d 0.5\n").contains("integer"));
        assert!(told("q 0 d 1\nq 0 d 2\n").contains("two grades"));
    }

    #[test]
    fn what_is_written_is_read() {
        let run = read_run("r", "q2 Q0 b 1 0.1 t\nq1 Q0 a 1 -2 t\nq2 Q0 c 2 7 t\n").unwrap();
        let text = write_run(&run, "t");
        assert_eq!(text, "q1 Q0 a 1 -2 t\nq2 Q0 c 1 7 t\nq2 Q0 b 2 0.1 t\n");
        assert_eq!(read_run("r", &text).unwrap()["q1"], run["q1"]);
    }
}
