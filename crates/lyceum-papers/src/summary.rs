//! From records to means, claims and verdicts.

use std::collections::BTreeMap;
use std::path::Path;

use lyceum_stats::{Estimate, mean};
use serde::{Deserialize, Serialize};

use crate::{
    Claim, Ending, Error, Metric, Plan, Record, Result, Rule, Take, Verdict, decide, figure, tables,
    updates_to_reach,
};

/// All that a study found: what `lyceum reproduce` prints and writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The study's short name.
    pub study: String,
    /// Its title.
    pub title: String,
    /// Whether everything was made small: then nothing is decided.
    pub quick: bool,
    /// Runs that the plan has.
    pub planned: usize,
    /// Runs that came to their end.
    pub finished: usize,
    /// Runs that did not.
    pub failures: Vec<Failure>,
    /// Names of the metrics, in their order.
    pub metrics: Vec<String>,
    /// What is compared.
    pub arms: Vec<ArmSummary>,
    /// What is claimed.
    pub claims: Vec<ClaimSummary>,
    /// Curves drawn, as files.
    pub figures: Vec<String>,
}

/// A run that did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its arm.
    pub arm: String,
    /// Its seed.
    pub seed: u64,
    /// Why.
    pub cause: String,
}

/// An arm's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmSummary {
    /// Its name.
    pub name: String,
    /// What it is.
    pub title: String,
    /// Seeds asked for.
    pub seeds: u64,
    /// Runs that failed.
    pub failed: usize,
    /// By metric.
    pub metrics: BTreeMap<String, Cell>,
}

/// A mean over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The mean with its interval over seeds.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Runs among them that never reached their target, and count with all their rounds.
    pub censored: usize,
}

/// A claim and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimSummary {
    /// What is claimed, and its rule.
    #[serde(flatten)]
    pub claim: Claim,
    /// The mean, or the paired difference first minus second.
    pub measured: Cell,
    /// Runs of its arms that failed.
    pub failed: usize,
    /// Whether it holds.
    pub verdict: Verdict,
    /// Why nothing is decided, where nothing is.
    pub why: Option<String>,
}

/// A run's number, and whether it is censored.
type Value = (f64, bool);

impl Summary {
    /// Judges the runs of a plan that are on record.
    #[must_use]
    pub fn new(plan: &Plan, records: &[Record]) -> Self {
        let file = &plan.study.file;
        let failures: Vec<Failure> = records.iter().filter_map(failure).collect();
        let failed = |arm: &str| failures.iter().filter(|failure| failure.arm == arm).count();
        let arms = file.arm.iter().map(|arm| {
            let cell = |metric: &Metric| {
                let values: Vec<Value> = values(records, metric, &arm.name).into_values().collect();
                (metric.name.clone(), Cell::of(&values, finished(records, &arm.name)))
            };
            ArmSummary {
                name: arm.name.clone(),
                title: arm.title().to_owned(),
                seeds: plan.seeds(arm),
                failed: failed(&arm.name),
                metrics: file.metric.iter().map(cell).collect(),
            }
        });
        let claims = file.claim.iter().filter_map(|claim| {
            let metric = file.metric.iter().find(|metric| metric.name == claim.metric)?;
            let measured = measured(records, claim, metric);
            let (mut verdict, mut why) = decide(claim.rule, claim.threshold, &measured.estimate);
            if plan.options.quick {
                verdict = Verdict::NotDecided;
                why = Some("--quick checks the machinery, not the claim".into());
            }
            let failed = claim.arms.iter().map(|arm| failed(arm)).sum();
            Some(ClaimSummary { claim: claim.clone(), measured, failed, verdict, why })
        });
        Self {
            study: plan.study.name.clone(),
            title: file.title.clone(),
            quick: plan.options.quick,
            planned: plan.runs.len(),
            finished: records.len() - failures.len(),
            metrics: file.metric.iter().map(|metric| metric.name.clone()).collect(),
            arms: arms.collect(),
            claims: claims.collect(),
            figures: Vec::new(),
            failures,
        }
    }
}

impl Cell {
    /// Of the runs' values; runs that finished and have none are counted as unscored.
    fn of(values: &[Value], runs: usize) -> Self {
        let numbers: Vec<f64> = values.iter().map(|value| value.0).collect();
        let estimate = mean(&numbers).with_unscored(runs.saturating_sub(numbers.len()));
        Self { estimate, censored: values.iter().filter(|value| value.1).count() }
    }
}

fn failure(record: &Record) -> Option<Failure> {
    let Ending::Failed(cause) = &record.ending else { return None };
    Some(Failure { arm: record.arm.clone(), seed: record.seed, cause: cause.clone() })
}

fn finished(records: &[Record], arm: &str) -> usize {
    records
        .iter()
        .filter(|record| record.arm == arm && matches!(record.ending, Ending::Finished { .. }))
        .count()
}

/// The metric of an arm by seed.
fn values(records: &[Record], metric: &Metric, arm: &str) -> BTreeMap<u64, Value> {
    let of = |record: &Record| -> Option<Value> {
        let Ending::Finished { metrics, rounds, .. } = &record.ending else { return None };
        let measured = metrics.get(&metric.name)?;
        match (metric.take, &metric.arm) {
            (Take::UpdatesToReach, Some(other)) => {
                let target = metric.share * last(records, metric, other, record.seed)?;
                measured.value.map(|_| updates_to_reach(&measured.climb, target, *rounds))
            }
            _ => measured.value.map(|value| (value, false)),
        }
    };
    records.iter().filter(|r| r.arm == arm).filter_map(|record| Some((record.seed, of(record)?))).collect()
}

/// What an arm came to in the end with a seed.
fn last(records: &[Record], metric: &Metric, arm: &str, seed: u64) -> Option<f64> {
    let record = records.iter().find(|record| record.arm == arm && record.seed == seed)?;
    let Ending::Finished { metrics, .. } = &record.ending else { return None };
    metrics.get(&metric.name)?.value
}

/// A claim's number: one arm's mean, or the paired difference of two over the seeds that both have.
fn measured(records: &[Record], claim: &Claim, metric: &Metric) -> Cell {
    let mut sides = claim.arms.iter().map(|arm| (finished(records, arm), values(records, metric, arm)));
    let Some((runs, first)) = sides.next() else { return Cell::of(&[], 0) };
    let Some((other_runs, second)) = sides.next() else {
        return Cell::of(&first.into_values().collect::<Vec<_>>(), runs);
    };
    let pairs: Vec<Value> =
        first.iter().filter_map(|(seed, a)| second.get(seed).map(|b| (a.0 - b.0, a.1 || b.1))).collect();
    Cell::of(&pairs, runs.min(other_runs))
}

/// The rule in words: "above 0.5".
impl std::fmt::Display for ClaimSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Claim { metric, arms, rule, threshold, .. } = &self.claim;
        write!(f, "{metric}: {} = {}; asked: ", arms.join(" minus "), tables::cell(&self.measured))?;
        match rule {
            Rule::Above => write!(f, "above {threshold}"),
            Rule::Below => write!(f, "below {threshold}"),
            Rule::Within => write!(f, "between -{threshold} and {threshold}"),
        }
    }
}

/// Reads the plan's runs off the results folder, judges them, and writes `summary.json`, `summary.md`, `metrics.jsonl`
/// and the figures there.
///
/// # Errors
/// [`Error::Io`], [`Error::Run`], [`Error::Json`].
pub fn write_results(plan: &Plan, results: &Path) -> Result<Summary> {
    let read = |run: &crate::Run| {
        Record::read(&Record::path(results, &run.arm, run.seed)).filter(|record| record.key == run.key)
    };
    let records: Vec<Record> = plan.runs.iter().filter_map(read).collect();
    std::fs::create_dir_all(results).map_err(Error::io("make the folder", results))?;
    let mut summary = Summary::new(plan, &records);
    for spec in &plan.study.file.figure {
        if let Some(svg) = figure(&plan.study, spec, &records) {
            lyceum_run::write_file(&results.join(&spec.file), svg.as_bytes())?;
            summary.figures.push(spec.file.clone());
        }
    }
    let mut lines = String::new();
    for record in &records {
        for (of, curve) in &record.curves {
            for (step, value) in curve {
                let row = serde_json::json!({
                    "arm": record.arm, "seed": record.seed, "of": of, "step": step, "value": value,
                });
                lines += &format!("{row}\n");
            }
        }
    }
    lyceum_run::write_file(&results.join("metrics.jsonl"), lines.as_bytes())?;
    let json = serde_json::to_string_pretty(&summary)? + "\n";
    lyceum_run::write_file(&results.join("summary.json"), json.as_bytes())?;
    lyceum_run::write_file(&results.join("summary.md"), tables::markdown(&summary).as_bytes())?;
    Ok(summary)
}

#[cfg(test)]
mod tests;
