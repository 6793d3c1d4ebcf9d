//! Retrieval metrics by trec_eval's conventions.
//!
//! - Documents are ordered by score, highest first; equal scores by document id, **greatest first** (trec_eval reads scores
//!   as 32-bit floats, and so does [`rank`]).
//! - A query without a relevant judgement is left out of every mean and counted apart ([`Report::without_relevant`]); so is
//!   one without judgements ([`Report::unjudged`]). A judged query that the run lacks is left out as well, as trec_eval does,
//!   unless [`Options::complete`] counts it as 0 (its flag `-c`).
//! - An unjudged document is not relevant.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use lyceum_stats::{Bootstrap, Estimate};
use serde::Serialize;

use crate::trec::{Qrels, Run};
use crate::{Error, Result};

/// A metric of one ranking. `k` cuts the ranking; none looks at all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// nDCG with the grades as gains: trec_eval's `ndcg` and `ndcg_cut_k`.
    Ndcg(Option<usize>),
    /// nDCG with gains 2^grade - 1 (Burges et al. 2005); not in trec_eval.
    NdcgExponential(Option<usize>),
    /// Average precision over all relevant documents: `map`, `map_cut_k`.
    AveragePrecision(Option<usize>),
    /// Average precision over at most k relevant documents: min(|G|, k) below; not in trec_eval.
    AveragePrecisionCapped(usize),
    /// 1 / rank of the first relevant document: `recip_rank`.
    ReciprocalRank(Option<usize>),
    /// Relevant among the first k, over k: `P_k`.
    Precision(usize),
    /// Relevant among the first k, over all relevant: `recall_k`.
    Recall(usize),
    /// Harmonic mean of precision and recall at k; 0 where both are.
    F1(usize),
    /// Whether a relevant document is among the first k: `success_k`.
    Success(usize),
    /// Precision at |G|: `Rprec`.
    RPrecision,
    /// Preference-based measure on judged documents only (Buckley and Voorhees 2004): `bpref`.
    Bpref,
}

/// What is reported when nobody asks for anything else.
pub const DEFAULT: [Metric; 8] = [
    Metric::Ndcg(Some(10)),
    Metric::AveragePrecision(None),
    Metric::ReciprocalRank(None),
    Metric::Precision(5),
    Metric::Precision(10),
    Metric::Recall(10),
    Metric::Recall(100),
    Metric::Success(1),
];

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = |f: &mut std::fmt::Formatter<'_>, name: &str, k: &Option<usize>| match k {
            Some(k) => write!(f, "{name}@{k}"),
            None => f.write_str(name),
        };
        match self {
            Self::Ndcg(k) => cut(f, "ndcg", k),
            Self::NdcgExponential(k) => cut(f, "ndcg_exp", k),
            Self::AveragePrecision(k) => cut(f, "map", k),
            Self::AveragePrecisionCapped(k) => write!(f, "map_capped@{k}"),
            Self::ReciprocalRank(k) => cut(f, "mrr", k),
            Self::Precision(k) => write!(f, "precision@{k}"),
            Self::Recall(k) => write!(f, "recall@{k}"),
            Self::F1(k) => write!(f, "f1@{k}"),
            Self::Success(k) => write!(f, "hit@{k}"),
            Self::RPrecision => f.write_str("rprec"),
            Self::Bpref => f.write_str("bpref"),
        }
    }
}

impl FromStr for Metric {
    type Err = Error;

    /// Reads `ndcg@10` and, as well, trec_eval's own names (`ndcg_cut_10`, `P_5`, `recip_rank`).
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::UnknownMetric {
            name: text.into(),
            known: "ndcg[@k], ndcg_exp[@k], map[@k], map_capped@k, mrr[@k], precision@k, recall@k, f1@k, hit@k, rprec, bpref"
                .into(),
        }
        };
        let lower = text.to_ascii_lowercase();
        let split = lower.split_once('@').or_else(|| {
            let (name, k) = lower.rsplit_once('_')?;
            k.bytes().all(|b| b.is_ascii_digit()).then_some((name, k))
        });
        let (name, k) = match split {
            Some((name, k)) => (name, Some(k.parse().ok().filter(|&k| k > 0).ok_or_else(unknown)?)),
            None => (lower.as_str(), None),
        };
        Ok(match (name, k) {
            ("ndcg" | "ndcg_cut", k) => Self::Ndcg(k),
            ("ndcg_exp", k) => Self::NdcgExponential(k),
            ("map" | "map_cut" | "ap", k) => Self::AveragePrecision(k),
            ("map_capped", Some(k)) => Self::AveragePrecisionCapped(k),
            ("mrr" | "rr" | "recip_rank", k) => Self::ReciprocalRank(k),
            ("p" | "precision", Some(k)) => Self::Precision(k),
            ("r" | "recall", Some(k)) => Self::Recall(k),
            ("f1", Some(k)) => Self::F1(k),
            ("hit" | "success", Some(k)) => Self::Success(k),
            ("rprec", None) => Self::RPrecision,
            ("bpref", None) => Self::Bpref,
            _ => return Err(unknown()),
        })
    }
}

/// The documents of a query in trec_eval's order.
///
/// ```
/// let found = [("a".to_string(), 1.0), ("b".to_string(), 1.0), ("c".to_string(), 2.0)];
/// let order: Vec<&str> = lyceum_eval::retrieval::rank(&found).into_iter().map(|(id, _)| id).collect();
/// assert_eq!(order, ["c", "b", "a"]);
/// ```
#[must_use]
pub fn rank(found: &[(String, f64)]) -> Vec<(&str, f64)> {
    let mut order: Vec<(&str, f64)> = found.iter().map(|(id, score)| (id.as_str(), *score)).collect();
    order.sort_by(|a, b| (b.1 as f32).total_cmp(&(a.1 as f32)).then_with(|| b.0.cmp(a.0)));
    order
}

impl Metric {
    /// The metric of one query: its ranking, best first, and its judgements. `None` when no judgement is relevant.
    #[must_use]
    pub fn of(&self, ranking: &[&str], judged: &BTreeMap<String, i64>) -> Option<f64> {
        let relevant = judged.values().filter(|&&grade| grade > 0).count();
        if relevant == 0 {
            return None;
        }
        let grade = |id: &&str| judged.get(*id).copied().unwrap_or(0).max(0);
        let cut = |k: Option<usize>| &ranking[..k.unwrap_or(ranking.len()).min(ranking.len())];
        let hits = |k: usize| cut(Some(k)).iter().filter(|id| grade(id) > 0).count() as f64;
        Some(match *self {
            Self::Ndcg(k) => normalised_gain(cut(k).iter().map(grade), judged, k, |grade| grade as f64),
            Self::NdcgExponential(k) => {
                normalised_gain(cut(k).iter().map(grade), judged, k, |grade| (grade as f64).exp2() - 1.0)
            }
            Self::AveragePrecision(k) => precision_sum(cut(k).iter().map(grade)) / relevant as f64,
            Self::AveragePrecisionCapped(k) => {
                precision_sum(cut(Some(k)).iter().map(grade)) / relevant.min(k) as f64
            }
            Self::ReciprocalRank(k) => {
                cut(k).iter().position(|id| grade(id) > 0).map_or(0.0, |at| 1.0 / (at + 1) as f64)
            }
            Self::Precision(k) => hits(k) / k as f64,
            Self::Recall(k) => hits(k) / relevant as f64,
            // 2PR / (P + R) with P = h/k and R = h/|G|.
            Self::F1(k) => 2.0 * hits(k) / (k + relevant) as f64,
            Self::Success(k) => f64::from(u8::from(hits(k) > 0.0)),
            Self::RPrecision => hits(relevant) / relevant as f64,
            Self::Bpref => bpref(ranking, judged, relevant),
        })
    }
}

/// Sum of the precisions at the ranks of relevant documents.
fn precision_sum(grades: impl Iterator<Item = i64>) -> f64 {
    let (mut hits, mut sum) = (0.0, 0.0);
    for (index, grade) in grades.enumerate() {
        if grade > 0 {
            hits += 1.0;
            sum += hits / (index + 1) as f64;
        }
    }
    sum
}

/// Discounted gain over the best that the judgements allow (Järvelin and Kekäläinen 2002), discount log2(rank + 1).
fn normalised_gain(
    grades: impl Iterator<Item = i64>,
    judged: &BTreeMap<String, i64>,
    k: Option<usize>,
    gain: impl Fn(i64) -> f64,
) -> f64 {
    let discounted = |grades: &mut dyn Iterator<Item = i64>| -> f64 {
        grades.enumerate().map(|(index, grade)| gain(grade) / ((index + 2) as f64).log2()).sum()
    };
    let mut best: Vec<i64> = judged.values().copied().filter(|&grade| grade > 0).collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let mut grades = grades;
    discounted(&mut grades) / discounted(&mut best.into_iter().take(k.unwrap_or(usize::MAX)))
}

/// bpref: for each relevant document that was found, the share of the judged non-relevant that do not stand above it.
fn bpref(ranking: &[&str], judged: &BTreeMap<String, i64>, relevant: usize) -> f64 {
    let irrelevant = judged.len() - relevant;
    let bound = relevant.min(irrelevant) as f64;
    let (mut above, mut sum) = (0usize, 0.0);
    for grade in ranking.iter().filter_map(|id| judged.get(*id)) {
        if *grade > 0 {
            sum += if above == 0 { 1.0 } else { 1.0 - above.min(relevant) as f64 / bound };
        } else {
            above += 1;
        }
    }
    sum / relevant as f64
}

/// How a run is scored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A judged query that the run lacks counts as 0 (trec_eval's `-c`) instead of being left out.
    pub complete: bool,
    /// The bootstrap over queries.
    pub bootstrap: Bootstrap,
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Mean over queries by metric, with n, interval and the count of unscored queries.
    pub metrics: BTreeMap<String, Estimate>,
    /// By query and metric.
    pub queries: BTreeMap<String, BTreeMap<String, f64>>,
    /// Queries of the run without any judgement.
    pub unjudged: usize,
    /// Judged queries none of whose judgements is relevant.
    pub without_relevant: usize,
    /// Judged queries that the run lacks.
    pub missing: usize,
}

/// Scores a run.
#[must_use]
pub fn score(run: &Run, qrels: &Qrels, metrics: &[Metric], options: Options) -> Report {
    let names: Vec<(Metric, String)> = metrics
        .iter()
        .copied()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|metric| (metric, metric.to_string()))
        .collect();
    let mut queries = BTreeMap::<String, BTreeMap<String, f64>>::new();
    let (mut missing, mut without_relevant) = (0, 0);
    for (query, judged) in qrels {
        if !judged.values().any(|&grade| grade > 0) {
            without_relevant += 1;
            continue;
        }
        let found = run.get(query);
        if found.is_none() {
            missing += 1;
            if !options.complete {
                continue;
            }
        }
        let ranked = rank(found.map(Vec::as_slice).unwrap_or_default());
        let ranking: Vec<&str> = ranked.into_iter().map(|(id, _)| id).collect();
        let values =
            names.iter().filter_map(|(metric, name)| Some((name.clone(), metric.of(&ranking, judged)?)));
        queries.insert(query.clone(), values.collect());
    }
    let left_out = without_relevant + if options.complete { 0 } else { missing };
    let mean = |(_, name): &(Metric, String)| {
        let values: Vec<Vec<f64>> =
            queries.values().filter_map(|values| values.get(name)).map(|&value| vec![value]).collect();
        (name.clone(), options.bootstrap.mean(&values).with_unscored(left_out))
    };
    let metrics = names.iter().map(mean).collect();
    let unjudged = run.keys().filter(|query| !qrels.contains_key(*query)).count();
    Report { metrics, queries, unjudged, without_relevant, missing }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trec::{read_qrels, read_run};

    fn judged(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
        pairs.iter().map(|&(id, grade)| (id.to_string(), grade)).collect()
    }

    #[test]
    fn a_ranking_by_hand() {
        // Relevant: a (grade 2), c (1), z (1, never found); b judged and not relevant.
        let judged = judged(&[("a", 2), ("b", 0), ("c", 1), ("z", 1)]);
        let ranking = ["b", "a", "x", "c"];
        let value = |metric: &str| metric.parse::<Metric>().unwrap().of(&ranking, &judged).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        let log = f64::log2;
        let best = 2.0 + 1.0 / log(3.0) + 1.0 / log(4.0);
        close(value("ndcg"), (2.0 / log(3.0) + 1.0 / log(5.0)) / best);
        close(value("ndcg@2"), (2.0 / log(3.0)) / (2.0 + 1.0 / log(3.0)));
        close(value("ndcg_exp@1"), 0.0);
        close(value("map"), (1.0 / 2.0 + 2.0 / 4.0) / 3.0);
        close(value("map@2"), 0.5 / 3.0);
        close(value("map_capped@2"), 0.5 / 2.0);
        close(value("mrr"), 0.5);
        close(value("mrr@1"), 0.0);
        close(value("P_5"), 0.4);
        close(value("recall@2"), 1.0 / 3.0);
        close(value("f1@4"), 2.0 * 2.0 / 7.0);
        close(value("hit@1"), 0.0);
        close(value("success_2"), 1.0);
        close(value("rprec"), 1.0 / 3.0);
        // Both relevant ones that were found stand under the only judged non-relevant one.
        close(value("bpref"), 0.0);
    }

    #[test]
    fn queries_are_left_out_as_trec_eval_does() {
        let run = read_run("r", "q1 Q0 a 1 1 t\nq2 Q0 a 1 1 t\nq9 Q0 a 1 1 t\n").unwrap();
        let qrels = read_qrels("q", "q1 0 a 1\nq2 0 a 0\nq3 0 a 1\n").unwrap();
        let report = |complete| {
            score(&run, &qrels, &[Metric::Precision(1)], Options { complete, ..Options::default() })
        };
        let usual = report(false);
        assert_eq!((usual.unjudged, usual.without_relevant, usual.missing), (1, 1, 1));
        let estimate = &usual.metrics["precision@1"];
        assert_eq!((estimate.mean, estimate.n, estimate.unscored), (1.0, 1, 2));
        let complete = &report(true).metrics["precision@1"];
        assert_eq!((complete.mean, complete.n, complete.unscored), (0.5, 2, 1));
    }

    #[test]
    fn names_read_back() {
        for metric in DEFAULT {
            assert_eq!(metric.to_string().parse::<Metric>().unwrap(), metric);
        }
        assert!("ndcg@0".parse::<Metric>().is_err());
        assert!("precision".parse::<Metric>().is_err());
    }

    proptest! {
        #[test]
        fn metrics_are_shares_and_best_for_the_best_order(grades in prop::collection::vec(0i64..4, 1..30), k in 1usize..12) {
            prop_assume!(grades.iter().any(|&grade| grade > 0));
            let judged: BTreeMap<String, i64> =
                grades.iter().enumerate().map(|(i, &grade)| (format!("d{i:02}"), grade)).collect();
            let ids: Vec<&str> = judged.keys().map(String::as_str).collect();
            let mut best = ids.clone();
            best.sort_by_key(|id| -judged[*id]);
            let k = Some(k);
            for metric in [Metric::Ndcg(k), Metric::NdcgExponential(None), Metric::AveragePrecision(None),
                Metric::ReciprocalRank(k), Metric::RPrecision, Metric::Bpref, Metric::AveragePrecisionCapped(5)] {
                let value = metric.of(&ids, &judged).unwrap();
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value));
                prop_assert!((metric.of(&best, &judged).unwrap() - 1.0).abs() < 1e-12);
            }
        }
    }
}
