//! `lyceum score`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use lyceum_eval::answers::{self, Scores};
use lyceum_eval::entailment::{Exact, Lexical};
use lyceum_eval::retrieval::{self, Metric};
use lyceum_eval::{Entailment, trec};
use lyceum_papers::aligned;
use lyceum_stats::{Bootstrap, Estimate, by_group};
use serde_json::json;

use crate::cli::{JudgeArg, ScoreCommand, ScoreRagArgs, ScoreRetrievalArgs};
use crate::out;
use crate::session::Session;

/// Scores a run or answers.
pub fn run(session: &Session, command: &ScoreCommand) -> Result<()> {
    match command {
        ScoreCommand::Retrieval(arguments) => score_retrieval(session, arguments),
        ScoreCommand::Rag(arguments) => score_rag(session, arguments),
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn score_retrieval(session: &Session, arguments: &ScoreRetrievalArgs) -> Result<()> {
    let named = |path: &Path| path.display().to_string();
    let load = |path: &Path| -> Result<trec::Run> { Ok(trec::read_run(&named(path), &read(path)?)?) };
    let run = load(&arguments.run)?;
    let qrels = trec::read_qrels(&named(&arguments.qrels), &read(&arguments.qrels)?)?;
    let metrics: Vec<Metric> = match arguments.metrics.as_slice() {
        [] => retrieval::DEFAULT.to_vec(),
        names => names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
    };
    let options = retrieval::Options { complete: arguments.complete, bootstrap: Bootstrap::default() };
    let report = retrieval::score(&run, &qrels, &metrics, options);
    let differences = match &arguments.against {
        Some(path) => {
            let other = retrieval::score(&load(path)?, &qrels, &metrics, options);
            Some(paired(&lists(&report.queries), &lists(&other.queries), &BTreeMap::new()))
        }
        None => None,
    };
    let whole = json!({
        "metrics": report.metrics, "differences": differences, "unjudged": report.unjudged,
        "without_relevant": report.without_relevant, "missing": report.missing, "queries": report.queries,
    });
    if let Some(path) = &arguments.out {
        lyceum_run::write_file(path, &serde_json::to_vec_pretty(&whole)?)?;
    }
    if session.json {
        return session.print_json(&whole);
    }
    table(&report.metrics, differences.as_ref());
    for (count, what) in [
        (report.missing, "judged queries are not in the run"),
        (report.without_relevant, "queries have no relevant judgement and are left out"),
        (report.unjudged, "queries of the run have no judgement and are left out"),
    ] {
        if count > 0 {
            out!("{count} {what}");
        }
    }
    Ok(())
}

/// A map of values by item as a list by item of optional values.
fn lists(items: &BTreeMap<String, BTreeMap<String, f64>>) -> BTreeMap<String, Scores> {
    let scores = |values: &BTreeMap<String, f64>| -> Scores {
        values.iter().map(|(name, &value)| (name.clone(), Some(value))).collect()
    };
    items.iter().map(|(id, values)| (id.clone(), scores(values))).collect()
}

/// First minus second by metric, over the items that both have.
fn paired(
    first: &BTreeMap<String, Scores>,
    second: &BTreeMap<String, Scores>,
    groups: &BTreeMap<String, String>,
) -> BTreeMap<String, Estimate> {
    let names: BTreeSet<&String> = first.values().flat_map(BTreeMap::keys).collect();
    let difference = |name: &String| {
        let value = |scores: &Scores| scores.get(name).copied().flatten().unwrap_or(f64::NAN);
        let pairs = first.iter().filter_map(|(id, scores)| {
            let group = groups.get(id).unwrap_or(id).clone();
            Some((group, (value(scores), value(second.get(id)?))))
        });
        (name.clone(), Bootstrap::default().difference(&by_group(pairs)))
    };
    names.into_iter().map(difference).collect()
}

fn score_rag(session: &Session, arguments: &ScoreRagArgs) -> Result<()> {
    let judge: Box<dyn Entailment> = match arguments.judge {
        JudgeArg::Exact => Box::new(Exact),
        JudgeArg::Lexical => Box::new(Lexical),
    };
    let examine = |path: &Path| -> Result<(BTreeMap<String, Scores>, BTreeMap<String, String>)> {
        let rows = answers::read(&path.display().to_string(), &read(path)?)?;
        let scores = answers::score(&rows, judge.as_ref(), arguments.threshold)?;
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone().unwrap_or_default()).collect();
        let groups = ids
            .iter()
            .zip(&rows)
            .map(|(id, row)| (id.clone(), row.group.clone().unwrap_or_else(|| id.clone())));
        Ok((ids.iter().cloned().zip(scores).collect(), groups.collect()))
    };
    let (items, groups) = examine(&arguments.data)?;
    let names: BTreeSet<&String> = items.values().flat_map(BTreeMap::keys).collect();
    let estimate = |name: &String| {
        let values = items
            .iter()
            .filter_map(|(id, scores)| Some((groups.get(id)?, scores.get(name)?.unwrap_or(f64::NAN))));
        (name.clone(), Bootstrap::default().mean(&by_group(values)))
    };
    let metrics: BTreeMap<String, Estimate> = names.into_iter().map(estimate).collect();
    let differences = match &arguments.against {
        Some(path) => Some(paired(&items, &examine(path)?.0, &groups)),
        None => None,
    };
    let whole = json!({
        "version": 1, "judge": judge.name(), "threshold": arguments.threshold, "rows": items.len(),
        "metrics": metrics, "differences": differences, "items": items,
    });
    if let Some(path) = &arguments.out {
        lyceum_run::write_file(path, &serde_json::to_vec_pretty(&whole)?)?;
    }
    if let Some(path) = &arguments.html {
        let title = format!("{} answers, entailment by {}", items.len(), judge.name());
        lyceum_run::write_file(
            path,
            crate::commands::score_html::page(&title, &metrics, differences.as_ref()).as_bytes(),
        )?;
        session.say(&format!("page in {}", path.display()));
    }
    if session.json {
        return session.print_json(&whole);
    }
    out!("{} rows; a claim follows from a text by {} at {}", items.len(), judge.name(), arguments.threshold);
    table(&metrics, differences.as_ref());
    Ok(())
}

/// Metrics with their intervals, and what another system's lack of them.
fn table(metrics: &BTreeMap<String, Estimate>, differences: Option<&BTreeMap<String, Estimate>>) {
    let mut head = vec!["metric", "mean", "95 % interval", "n", "unscored"];
    if differences.is_some() {
        head.extend(["difference", "95 % interval"]);
    }
    let interval = |e: &Estimate| format!("[{:.4}, {:.4}]", e.low, e.high);
    let rows = metrics.iter().map(|(name, e)| {
        let mut row = vec![
            name.clone(),
            format!("{:.4}", e.mean),
            interval(e),
            e.n.to_string(),
            e.unscored.to_string(),
        ];
        if let Some(d) = differences.and_then(|differences| differences.get(name)) {
            row.extend([format!("{:+.4}", d.mean), interval(d)]);
        }
        row
    });
    let rows: Vec<Vec<String>> =
        std::iter::once(head.into_iter().map(String::from).collect()).chain(rows).collect();
    out!("{}", aligned(&rows).trim_end());
}
