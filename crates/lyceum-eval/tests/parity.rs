//! The same numbers as the tools that metrics are named after: `parity/golden_evaluation.py` made the files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use lyceum_eval::agreement::{Weights, cohen_kappa};
use lyceum_eval::correlation::area_under_roc;
use lyceum_eval::lexical::{chrf, corpus_bleu, rouge_l, rouge_n, sentence_bleu};
use lyceum_eval::retrieval::{Metric, rank};
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/../../parity/golden/evaluation/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn close(found: f64, wanted: f64, what: &str) {
    assert!((found - wanted).abs() < 1e-9, "{what}: {found}, wanted {wanted}");
}

#[test]
fn retrieval_is_trec_evals() {
    #[derive(Deserialize)]
    struct Golden {
        run: BTreeMap<String, BTreeMap<String, f64>>,
        qrels: BTreeMap<String, BTreeMap<String, i64>>,
        values: BTreeMap<String, BTreeMap<String, f64>>,
    }
    let golden: Golden = golden("retrieval");
    let mut compared = 0;
    for (query, values) in &golden.values {
        let found: Vec<(String, f64)> = golden.run[query].clone().into_iter().collect();
        let ranking: Vec<&str> = rank(&found).into_iter().map(|(id, _)| id).collect();
        for (name, wanted) in values {
            let metric: Metric = name.parse().unwrap();
            // trec_eval counts a query without relevant documents as 0; we leave it out.
            match metric.of(&ranking, &golden.qrels[query]) {
                Some(value) => close(value, *wanted, &format!("{query} {name}")),
                None => assert_eq!(*wanted, 0.0),
            }
            compared += 1;
        }
    }
    assert!(compared > 400, "{compared}");
}

#[test]
fn words_are_sacrebleus_and_rouge_scores() {
    #[derive(Deserialize)]
    struct Row {
        answer: String,
        references: Vec<String>,
        bleu: f64,
        chrf: f64,
        rouge: BTreeMap<String, [f64; 3]>,
    }
    #[derive(Deserialize)]
    struct Golden {
        rows: Vec<Row>,
        corpus_bleu: f64,
    }
    let golden: Golden = golden("lexical");
    for row in &golden.rows {
        let references: Vec<&str> = row.references.iter().map(String::as_str).collect();
        close(sentence_bleu(&row.answer, &references), row.bleu, &format!("BLEU of {:?}", row.answer));
        close(chrf(&row.answer, &references), row.chrf, &format!("chrF of {:?} {references:?}", row.answer));
        for (name, wanted) in &row.rouge {
            let found = match name.as_str() {
                "rouge1" => rouge_n(&row.answer, &references[..1], 1),
                "rouge2" => rouge_n(&row.answer, &references[..1], 2),
                _ => rouge_l(&row.answer, &references[..1]),
            };
            for (found, wanted) in [found.precision, found.recall, found.f].into_iter().zip(wanted) {
                close(found, *wanted, &format!("{name} of {:?}", row.answer));
            }
        }
    }
    let pairs: Vec<(&str, Vec<&str>)> = golden
        .rows
        .iter()
        .map(|row| (row.answer.as_str(), row.references.iter().map(String::as_str).collect()))
        .collect();
    close(corpus_bleu(&pairs), golden.corpus_bleu, "BLEU of the corpus");
}

#[test]
fn agreement_is_scikit_learns() {
    #[derive(Deserialize)]
    struct Case {
        a: Vec<i64>,
        b: Vec<i64>,
        scores: Vec<f64>,
        nominal: f64,
        linear: f64,
        quadratic: f64,
        auc: f64,
    }
    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }
    for case in golden::<Golden>("agreement").cases {
        let pairs: Vec<(i64, i64)> = case.a.iter().copied().zip(case.b).collect();
        close(cohen_kappa(&pairs, Weights::Nominal).unwrap(), case.nominal, "kappa");
        close(cohen_kappa(&pairs, Weights::Linear).unwrap(), case.linear, "linear kappa");
        close(cohen_kappa(&pairs, Weights::Quadratic).unwrap(), case.quadratic, "quadratic kappa");
        let items: Vec<(f64, bool)> =
            case.scores.iter().copied().zip(case.a.iter().map(|&a| a > 1)).collect();
        close(area_under_roc(&items).unwrap(), case.auc, "AUC");
    }
}
