//! Rows of `score rag` and all metrics of one row.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::claims::{
    Cited, Judged, RagChecker, citations, ragas_claim_f1, ragas_context_precision, supported,
};
use crate::entailment::{Entailment, sentences};
use crate::lexical;
use crate::{Error, Result};

/// A question with what was retrieved, what was answered and what should have been.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Row {
    /// Its name; [`read`] gives it the number of its line where it has none.
    #[serde(default, deserialize_with = "text_or_number")]
    pub id: Option<String>,
    /// What belongs together in the bootstrap: a document, a conversation.
    #[serde(default, deserialize_with = "text_or_number")]
    pub group: Option<String>,
    /// The question.
    #[serde(default)]
    pub question: String,
    /// Retrieved texts, best first.
    #[serde(default)]
    pub contexts: Vec<Context>,
    /// What was answered.
    pub answer: String,
    /// What should have been.
    #[serde(default)]
    pub reference: References,
    /// Claims of the answer; its sentences where absent.
    #[serde(default)]
    pub answer_claims: Option<Vec<String>>,
    /// Claims of the reference; its sentences where absent.
    #[serde(default)]
    pub reference_claims: Option<Vec<String>>,
}

/// A retrieved text.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Context {
    /// The text alone.
    Text(String),
    /// With more about it.
    Document {
        /// The text.
        text: String,
    },
}

impl Context {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Document { text } => text,
        }
    }
}

/// One reference or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum References {
    /// One.
    One(String),
    /// Any of these; none when the list is empty.
    Any(Vec<String>),
    /// None.
    None(()),
}

impl Default for References {
    fn default() -> Self {
        Self::None(())
    }
}

impl References {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<&str> {
        match self {
            Self::One(text) => vec![text],
            Self::Any(texts) => texts.iter().map(String::as_str).collect(),
            Self::None(()) => Vec::new(),
        }
    }
}

fn text_or_number<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<String>, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// Reads JSON lines.
///
/// # Errors
/// [`Error::Line`] for a line that is no such object.
pub fn read(file: &str, text: &str) -> Result<Vec<Row>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let filled = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut seen = BTreeMap::<String, usize>::new();
    let row = |(index, line): (usize, &str)| {
        let number = index + 1;
        let problem = |problem: String| Error::Line { file: file.into(), line: number, problem };
        let mut row: Row = serde_json::from_str(line).map_err(|error| {
            problem(format!(
                "{error}; a row is {{\"question\": text, \"contexts\": [text, ...], \"answer\": text, \"reference\": text or [text, ...]}}"
            ))
        })?;
        let id = row.id.get_or_insert_with(|| number.to_string());
        match seen.insert(id.clone(), number) {
            Some(before) => {
                Err(problem(format!("id {id:?} stands in line {before} already; ids must differ")))
            }
            None => Ok(row),
        }
    };
    filled.map(row).collect()
}

/// A row's metrics by name; `None` is unscored.
pub type Scores = BTreeMap<String, Option<f64>>;

/// Scores rows. Entailment is asked in one go for all rows; above `threshold` it counts as given.
///
/// # Errors
/// [`Error::Entailment`].
pub fn score(rows: &[Row], entailment: &dyn Entailment, threshold: f64) -> Result<Vec<Scores>> {
    let whole = |row: &Row| row.contexts.iter().map(Context::text).collect::<Vec<_>>().join("\n");
    let wholes: Vec<String> = rows.iter().map(whole).collect();
    let questions: Vec<Questions<'_>> =
        rows.iter().zip(&wholes).map(|(row, whole)| Questions::of(row, whole)).collect();
    let pairs: Vec<(&str, &str)> =
        questions.iter().flat_map(|asked| asked.pairs.iter().map(|(p, h)| (p.as_ref(), *h))).collect();
    let mut answers = entailment.judge(&pairs)?.into_iter();
    let all = rows.iter().zip(&questions).map(|(row, asked)| {
        let own: Vec<Option<bool>> =
            asked.pairs.iter().map(|_| answers.next().flatten().map(|p| p >= threshold)).collect();
        row_scores(row, asked, &own)
    });
    Ok(all.collect())
}

/// What has to be judged of a row, in a fixed order.
struct Questions<'a> {
    response: Vec<&'a str>,
    reference: Vec<&'a str>,
    pairs: Vec<(Cow<'a, str>, &'a str)>,
    cited: Vec<Option<Vec<usize>>>,
}

impl<'a> Questions<'a> {
    fn of(row: &'a Row, whole: &'a str) -> Self {
        let given =
            |claims: &'a Option<Vec<String>>| claims.as_ref().map(|c| c.iter().map(String::as_str).collect());
        let said = sentences(&row.answer);
        let response: Vec<&str> = given(&row.answer_claims).unwrap_or_else(|| said.clone());
        let first = row.reference.all().into_iter().next();
        let reference: Vec<&str> =
            given(&row.reference_claims).unwrap_or_else(|| first.map(sentences).unwrap_or_default());
        let mut pairs = Vec::new();
        if let Some(first) = first {
            pairs.extend(response.iter().map(|claim| (first.into(), *claim)));
            pairs.extend(reference.iter().map(|claim| (row.answer.as_str().into(), *claim)));
        }
        for claims in [&response, &reference] {
            for claim in claims {
                pairs.extend(row.contexts.iter().map(|context| (context.text().into(), *claim)));
                pairs.extend((!row.contexts.is_empty()).then(|| (whole.into(), *claim)));
            }
        }
        let cited: Vec<Option<Vec<usize>>> =
            said.iter().map(|sentence| citation_marks(sentence, row.contexts.len())).collect();
        if cited.iter().flatten().any(|marks| !marks.is_empty()) {
            for (sentence, marks) in said.into_iter().zip(&cited) {
                let text = |skip: Option<usize>| {
                    let kept = marks.iter().flatten().filter(|&&mark| Some(mark) != skip);
                    kept.map(|&mark| row.contexts[mark].text()).collect::<Vec<_>>().join("\n")
                };
                pairs.push((text(None).into(), sentence));
                for &mark in marks.iter().flatten() {
                    pairs.push((row.contexts[mark].text().into(), sentence));
                    pairs.push((text(Some(mark)).into(), sentence));
                }
            }
        }
        Self { response, reference, pairs, cited }
    }
}

/// The documents that a sentence cites as `[1]`, `[2][3]` or `[1, 2]`, from 0; `None` when one of them is not there.
fn citation_marks(sentence: &str, contexts: usize) -> Option<Vec<usize>> {
    let mut marks = Vec::new();
    for part in sentence.split('[').skip(1) {
        let Some((inside, _)) = part.split_once(']') else { continue };
        let numbers: Option<Vec<usize>> =
            inside.split(',').map(|number| number.trim().parse().ok()).collect();
        for number in numbers.into_iter().flatten() {
            let mark = number.checked_sub(1).filter(|&mark| mark < contexts)?;
            if !marks.contains(&mark) {
                marks.push(mark);
            }
        }
    }
    Some(marks)
}

fn row_scores(row: &Row, asked: &Questions<'_>, answers: &[Option<bool>]) -> Scores {
    let mut scores = Scores::new();
    let references = row.reference.all();
    if !references.is_empty() {
        let mut lexical = |name: &str, value: f64| _ = scores.insert(name.into(), Some(value));
        lexical("squad.em", lexical::exact_match(&row.answer, &references));
        lexical("squad.f1", lexical::token_f1(&row.answer, &references));
        lexical("answer.presence", lexical::presence(&row.answer, &references));
        for n in [1, 2] {
            lexical(&format!("rouge-score.rouge{n}"), lexical::rouge_n(&row.answer, &references, n).f);
        }
        lexical("rouge-score.rougeL", lexical::rouge_l(&row.answer, &references).f);
        lexical("sacrebleu.sentence_bleu", lexical::sentence_bleu(&row.answer, &references) / 100.0);
        lexical("sacrebleu.sentence_chrf", lexical::chrf(&row.answer, &references) / 100.0);
    }
    let mut by_claims = claim_scores(row, asked, answers.iter().map(|answer| *answer == Some(true)));
    if answers.iter().any(Option::is_none) {
        // Every metric of claims looks at every claim: a pair without a judgement leaves them all unscored.
        by_claims.values_mut().for_each(|score| *score = None);
    }
    scores.append(&mut by_claims);
    scores
}

/// The metrics that stand on judgements, which come in the order of the questions.
fn claim_scores(row: &Row, asked: &Questions<'_>, mut judged: impl Iterator<Item = bool>) -> Scores {
    let mut scores = Scores::new();
    let mut take = |count: usize| judged.by_ref().take(count).collect::<Vec<bool>>();
    let (has_reference, chunks) = (!row.reference.all().is_empty(), row.contexts.len());
    let (said, gold) = (asked.response.len(), asked.reference.len());
    let response_by_reference = take(if has_reference { said } else { 0 });
    let reference_by_response = take(if has_reference { gold } else { 0 });
    let mut by_chunk = |count: usize| -> (Vec<Vec<bool>>, Vec<bool>) {
        let rows = (0..count).map(|_| {
            let chunk = take(chunks);
            (chunk, take(usize::from(chunks > 0)).first().copied().unwrap_or(false))
        });
        rows.unzip()
    };
    let (response_by_chunk, response_by_whole) = by_chunk(said);
    let (reference_by_chunk, reference_by_whole) = by_chunk(gold);
    let claims =
        Judged { response_by_reference, reference_by_response, response_by_chunk, reference_by_chunk };
    for (name, value) in RagChecker::of(&claims).named() {
        scores.insert(name.into(), value);
    }
    if chunks > 0 {
        scores.insert("ragas.faithfulness".into(), supported(&response_by_whole));
        let useful: Vec<bool> =
            (0..chunks).map(|chunk| claims.reference_by_chunk.iter().any(|claim| claim[chunk])).collect();
        if has_reference {
            scores.insert("ragas.context_recall".into(), supported(&reference_by_whole));
            scores.insert("ragas.context_precision".into(), ragas_context_precision(&useful));
        }
    }
    if has_reference {
        let f1 = ragas_claim_f1(&claims.response_by_reference, &claims.reference_by_response);
        scores.insert("ragas.factual_correctness".into(), f1);
    }
    if asked.cited.iter().flatten().any(|marks| !marks.is_empty()) {
        let sentences: Vec<Cited> = asked
            .cited
            .iter()
            .map(|marks| {
                let by_all = take(1).first().copied().unwrap_or(false);
                let each = marks.iter().flatten().map(|_| take(2)).map(|pair| (pair[0], pair[1])).collect();
                Cited { valid: marks.as_ref().is_some_and(|marks| !marks.is_empty()), by_all, each }
            })
            .collect();
        let (recall, precision) = citations(&sentences);
        scores.insert("alce.citation_recall".into(), recall);
        scores.insert("alce.citation_precision".into(), precision);
    }
    scores
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entailment::Exact;

    fn scored(json: &str) -> Scores {
        score(&read("rows", json).unwrap(), &Exact, 0.5).unwrap().remove(0)
    }

    #[test]
    fn a_row_by_hand() {
        let found = scored(
            r#"{"question": "q", "contexts": ["Rome is old. It is big.", {"text": "Noise."}], "answer": "Rome is old. Rome is new.", "reference": "Rome is old."}"#,
        );
        let value = |name: &str| found[name].unwrap();
        assert_eq!((value("ragas.faithfulness"), value("ragchecker.faithfulness")), (0.5, 0.5));
        assert_eq!((value("ragchecker.precision"), value("ragchecker.recall")), (0.5, 1.0));
        assert_eq!((value("ragchecker.context_precision"), value("ragas.context_precision")), (0.5, 1.0));
        assert_eq!((value("ragchecker.hallucination"), value("answer.presence")), (0.5, 1.0));
        assert!(!found.contains_key("alce.citation_recall"));
    }

    #[test]
    fn citations_are_judged_where_there_are_some() {
        let found =
            scored(r#"{"contexts": ["Rome is old [1]."], "answer": "Rome is old [1]. It rained. See [7]."}"#);
        assert_eq!(found["alce.citation_recall"], Some(1.0 / 3.0));
        assert_eq!(found["alce.citation_precision"], Some(1.0));
        assert!(!found.contains_key("squad.em"), "there is no reference");
    }

    #[test]
    fn what_is_missing_is_unscored_and_bad_lines_are_named() {
        let found = scored(r#"{"answer": "", "reference": ["x"]}"#);
        assert_eq!(found["ragchecker.precision"], None);
        assert_eq!(found["ragchecker.recall"], Some(0.0));
        let twice = "{\"answer\": \"x\"}\n{\"id\": 1, \"answer\": \"y\"}\n";
        assert!(read("r", twice).unwrap_err().to_string().contains("line 1 already"));
        let told = read("r.jsonl", "{\"answer\": \"x\"}\n\n{\"question\": 1}\n").unwrap_err().to_string();
        assert!(told.starts_with("r.jsonl:3: "), "{told}");
    }

    #[test]
    fn what_could_not_be_judged_is_counted_and_never_0() {
        /// Can judge nothing.
        struct Silent;
        impl Entailment for Silent {
            fn name(&self) -> &str {
                "silent"
            }
            fn judge(&self, pairs: &[(&str, &str)]) -> Result<Vec<Option<f64>>> {
                Ok(vec![None; pairs.len()])
            }
        }
        let rows =
            read("r", r#"{"contexts": ["Rome."], "answer": "Rome [1].", "reference": "Rome."}"#).unwrap();
        let found = score(&rows, &Silent, 0.5).unwrap().remove(0);
        for name in ["ragchecker.f1", "ragas.faithfulness", "ragas.context_recall", "alce.citation_recall"] {
            assert_eq!(found[name], None, "{name}");
        }
        assert!(found["squad.f1"].is_some());
    }
}
