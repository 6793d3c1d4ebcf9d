//! Metrics of answers against what people said of them, and against changes whose effect is known.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use lyceum_eval::answers::{Context as Text, References, Row as Answer, Scores, score};
use lyceum_eval::correlation::{area_under_roc, spearman};
use lyceum_eval::entailment::{Entailment, Lexical, coverage, sentences};
use lyceum_retrieve::Embedder;
use lyceum_retrieve::embed::cosine;
use lyceum_run::Row;
use serde::{Deserialize, Serialize};

use crate::cli::ENCODER;
use crate::commands::index::embedder;
use crate::session::Session;

/// The experiment. Rows are dealt to seeds in turn, so that seeds are independent samples of the data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RagEvaluation {
    /// Which part of the rows.
    pub seed: u64,
    /// Parts that the rows are dealt to.
    pub parts: usize,
}

impl Default for RagEvaluation {
    fn default() -> Self {
        Self { seed: 1, parts: 5 }
    }
}

#[derive(Deserialize)]
struct Pair {
    query_id: String,
    gt_answer: String,
    model1: Response,
    model2: Response,
    correctness_label: f64,
    completeness_label: f64,
    overall_label: f64,
}

#[derive(Deserialize)]
struct Response {
    response: String,
}

#[derive(Deserialize)]
struct Conflict {
    documents: Vec<Document>,
    gold_answers: Vec<String>,
    wrong_answers: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    text: String,
    r#type: String,
}

impl RagEvaluation {
    /// Runs it.
    pub fn run(&self, session: &Session, row: &mut Row) -> Result<()> {
        let embedder = embedder(session, ENCODER)?;
        self.preferences(&embedder, row)?;
        self.faithfulness(&embedder, row)?;
        self.monotonicity(row)
    }

    fn is_ours(&self, number: usize) -> bool {
        number % self.parts.max(1) == (self.seed.max(1) as usize - 1) % self.parts.max(1)
    }

    /// RAGChecker's pairs: does the difference of a metric go with which response people prefer?
    fn preferences(&self, embedder: &Embedder, row: &mut Row) -> Result<()> {
        let folder = data("ragchecker_meta")?;
        let path = folder.join("human_labeled_data.json");
        let pairs: Vec<Pair> = serde_json::from_slice(&std::fs::read(&path)?)
            .with_context(|| format!("{} is not what it should be", path.display()))?;
        // A question's pairs, and the annotators of a pair, stay together.
        let mut questions: Vec<&str> = pairs.iter().map(|pair| pair.query_id.as_str()).collect();
        questions.sort_unstable();
        questions.dedup();
        let number = |pair: &Pair| questions.partition_point(|id| *id < pair.query_id.as_str());
        let ours: Vec<&Pair> = pairs.iter().filter(|pair| self.is_ours(number(pair))).collect();
        let answers = |which: fn(&Pair) -> &Response| -> Result<Vec<Scores>> {
            let rows: Vec<Answer> = ours
                .iter()
                .map(|pair| Answer {
                    answer: which(pair).response.clone(),
                    reference: References::One(pair.gt_answer.clone()),
                    ..Answer::default()
                })
                .collect();
            let mut scores = score(&rows, &Lexical, 0.7)?;
            let texts: Vec<(&str, &str)> = ours
                .iter()
                .zip(&rows)
                .map(|(pair, row)| (pair.gt_answer.as_str(), row.answer.as_str()))
                .collect();
            let near = cosines(embedder, &texts)?;
            for (((pair, scores), row), near) in ours.iter().zip(&mut scores).zip(&rows).zip(near) {
                scores.insert("embedding.cosine".into(), Some(near));
                scores.insert(
                    "rouge-score.rouge1_recall".into(),
                    Some(lyceum_eval::lexical::rouge_n(&row.answer, &[&pair.gt_answer], 1).recall),
                );
                // Soft claims: how far the response has each sentence of the reference.
                let claims = sentences(&pair.gt_answer);
                let soft = claims.iter().map(|claim| coverage(&row.answer, claim)).sum::<f64>()
                    / claims.len().max(1) as f64;
                scores.insert("ours.soft_recall".into(), Some(soft));
            }
            Ok(scores)
        };
        let (first, second) = (answers(|pair| &pair.model1)?, answers(|pair| &pair.model2)?);
        let names: Vec<&String> = first
            .iter()
            .flat_map(BTreeMap::keys)
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        for (label, value) in [
            ("correctness", (|pair| pair.correctness_label) as fn(&Pair) -> f64),
            ("completeness", |pair| pair.completeness_label),
            ("overall", |pair| pair.overall_label),
        ] {
            for name in &names {
                let both = ours.iter().zip(&first).zip(&second).filter_map(|((pair, a), b)| {
                    Some((b.get(*name).copied()?? - a.get(*name).copied()??, value(pair)))
                });
                if let Some(rho) = spearman(&both.collect::<Vec<_>>()) {
                    row.set(format!("preference/{label}/{name}"), rho);
                }
            }
        }
        row.set("preference/n", ours.len() as f64);
        Ok(())
    }

    /// BEGIN: does a faithfulness metric part answers that their source supports from those that it does not?
    fn faithfulness(&self, embedder: &Embedder, row: &mut Row) -> Result<()> {
        let folder = data("begin")?;
        let mut items = Vec::new();
        for file in ["begin_dev_wow.tsv", "begin_dev_cmu.tsv", "begin_dev_tc.tsv"] {
            let path = folder.join(file);
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
            let head = lines.next().unwrap_or_default();
            let column = |name: &str| {
                head.iter()
                    .position(|h| *h == name)
                    .with_context(|| format!("{}: no column {name}", path.display()))
            };
            let (knowledge, response, label) =
                (column("knowledge")?, column("response")?, column("begin_label")?);
            for fields in lines.filter(|fields| fields.len() == head.len()) {
                // Generic answers claim nothing.
                if fields[label] != "Generic" {
                    let unquoted = |text: &str| text.trim_matches('"').replace("\"\"", "\"");
                    items.push((
                        unquoted(fields[knowledge]),
                        unquoted(fields[response]),
                        fields[label] == "Fully attributable",
                    ));
                }
            }
        }
        let ours: Vec<_> =
            items.into_iter().enumerate().filter(|(at, _)| self.is_ours(*at)).map(|(_, item)| item).collect();
        let pairs: Vec<(&str, &str)> =
            ours.iter().map(|(knowledge, response, _)| (knowledge.as_str(), response.as_str())).collect();
        let mut measure = |name: &str, scores: Vec<f64>| {
            let both: Vec<(f64, bool)> =
                scores.into_iter().zip(&ours).map(|(score, item)| (score, item.2)).collect();
            if let Some(area) = area_under_roc(&both) {
                row.set(format!("faithfulness/{name}"), area);
            }
        };
        measure("lexical", Lexical.judge(&pairs)?.into_iter().map(|score| score.unwrap_or(0.0)).collect());
        // The nearest sentence of the source, for every answer.
        let parts: Vec<Vec<&str>> = pairs.iter().map(|(knowledge, _)| sentences(knowledge)).collect();
        let texts: Vec<(&str, &str)> = parts
            .iter()
            .zip(&pairs)
            .flat_map(|(parts, pair)| parts.iter().map(|part| (*part, pair.1)))
            .collect();
        let mut all = cosines(embedder, &texts)?.into_iter();
        let near = parts.iter().map(|parts| all.by_ref().take(parts.len()).fold(-1.0, f64::max)).collect();
        measure("cosine", near);
        let rouge = |&(knowledge, response): &(&str, &str)| {
            lyceum_eval::lexical::rouge_n(response, &[knowledge], 2).precision
        };
        measure("rouge2_precision", pairs.iter().map(rouge).collect());
        measure("length", pairs.iter().map(|pair| -(pair.1.len() as f64)).collect());
        row.set("faithfulness/n", ours.len() as f64);
        Ok(())
    }

    /// RAMDocs: documents are dropped, noise is injected, the answer contradicted; how often does a metric move as it must?
    fn monotonicity(&self, row: &mut Row) -> Result<()> {
        let path = data("ramdocs")?.join("RAMDocs_test.jsonl");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut cases = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(number, _)| self.is_ours(*number)) {
            let case: Conflict =
                serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), number + 1))?;
            let of = |kind: &str| -> Vec<Text> {
                case.documents
                    .iter()
                    .filter(|d| d.r#type == kind)
                    .map(|d| Text::Text(d.text.clone()))
                    .collect()
            };
            let (correct, noise) = (of("correct"), of("noise"));
            if let ([gold, ..], false) = (case.gold_answers.as_slice(), correct.is_empty()) {
                cases.push((correct, noise, gold.clone(), case.wrong_answers.first().cloned()));
            }
        }
        let answer = |contexts: &[Text], answer: &str, gold: &str| Answer {
            contexts: contexts.to_vec(),
            answer: answer.into(),
            reference: References::One(gold.into()),
            ..Answer::default()
        };
        type Case = (Vec<Text>, Vec<Text>, String, Option<String>);
        let mut compare = |name: &str,
                           metric: &str,
                           change: &dyn Fn(&Case) -> Option<Answer>|
         -> Result<()> {
            let (before, after): (Vec<Answer>, Vec<Answer>) = cases
                .iter()
                .filter_map(|case| Some((answer(&case.0, &case.2, &case.2), change(case)?)))
                .unzip();
            let (before, after) = (score(&before, &Lexical, 0.7)?, score(&after, &Lexical, 0.7)?);
            let value = |scores: &Scores| scores.get(metric).copied().flatten();
            let moves: Vec<f64> =
                before.iter().zip(&after).filter_map(|(a, b)| Some(value(b)? - value(a)?)).collect();
            let n = moves.len().max(1) as f64;
            row.set(format!("moves/{name}/{metric}"), moves.iter().sum::<f64>() / n);
            row.set(format!("falls/{name}/{metric}"), moves.iter().filter(|m| **m < 0.0).count() as f64 / n);
            Ok(())
        };
        let drop = |case: &Case| (!case.1.is_empty()).then(|| answer(&case.1, &case.2, &case.2));
        for metric in ["ragchecker.claim_recall", "ragas.context_recall", "ragas.faithfulness"] {
            compare("drop", metric, &drop)?;
        }
        let inject = |case: &Case| {
            let with: Vec<Text> = case.1.iter().chain(&case.0).cloned().collect();
            (!case.1.is_empty()).then(|| answer(&with, &case.2, &case.2))
        };
        for metric in ["ragchecker.context_precision", "ragas.context_precision", "ragchecker.claim_recall"] {
            compare("inject", metric, &inject)?;
        }
        let contradict = |case: &Case| Some(answer(&case.0, case.3.as_deref()?, &case.2));
        for metric in ["ragchecker.precision", "ragchecker.recall", "ragas.faithfulness", "squad.f1"] {
            compare("contradict", metric, &contradict)?;
        }
        Ok(())
    }
}

fn data(name: &str) -> Result<std::path::PathBuf> {
    Ok(lyceum_hub::data::pull(name, &lyceum_hub::Silent)?)
}

/// The cosine of each pair of texts.
fn cosines(embedder: &Embedder, pairs: &[(&str, &str)]) -> Result<Vec<f64>> {
    let texts: Vec<&str> = pairs.iter().flat_map(|&(a, b)| [a, b]).collect();
    let width = embedder.identity().width;
    let vectors = embedder.embed(&texts)?;
    let both = vectors.chunks_exact(2 * width).map(|both| both.split_at(width));
    Ok(both.map(|(a, b)| f64::from(cosine(a, b))).collect())
}
