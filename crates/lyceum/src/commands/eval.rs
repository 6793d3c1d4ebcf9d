//! `lyceum eval` and `lyceum eval diff`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use lyceum_engine::{Event, Identity};
use lyceum_env::exam::{Exam, estimate, examine, examine_chat};
use lyceum_env::reward::ProcessSpec;
use lyceum_env::rollout::{CALLS, Plan, Player};
use lyceum_env::task::{self, TaskSpec};
use lyceum_env::tool::Toolbox;
use lyceum_env::{Problem, Split};
use lyceum_run::Progress;
use lyceum_stats::{Bootstrap, Estimate, Purpose, mcnemar_exact};
use serde::{Deserialize, Serialize};

use crate::cli::{EvalArgs, EvalCommand};
use crate::out;
use crate::session::Session;

/// A result file: what was examined, what it came to, item by item.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    version: u32,
    task: TaskSpec,
    split: Split,
    model: String,
    fingerprint: String,
    samples: usize,
    components: BTreeMap<String, Estimate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pass_at_k: Option<BTreeMap<usize, Estimate>>,
    /// By number of samples: the answer of the one that a process reward model likes best, and the commonest answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best_of: Option<BTreeMap<usize, Choice>>,
    tokens: Estimate,
    items: Vec<Item>,
}

/// How often an answer chosen among several is right.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Choice {
    /// Chosen by the highest least score of a step.
    by_least_step: Estimate,
    /// Chosen by the highest mean score of the steps.
    by_mean_step: Estimate,
}

/// The answers to one problem.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    id: String,
    answer: Option<String>,
    completions: Vec<String>,
    scores: Vec<BTreeMap<String, Option<f64>>>,
}

/// Examines a model on a task, or compares two result files.
pub fn run(session: &Session, arguments: &EvalArgs) -> Result<()> {
    if let Some(EvalCommand::Diff { a, b }) = &arguments.command {
        return diff(session, a, b);
    }
    let name = arguments.task.clone().context("give a task; `lyceum task list` shows them")?;
    let mut options = serde_json::Map::new();
    for set in &arguments.set {
        let (key, value) = set.split_once('=').with_context(|| format!("--set {set}: write KEY=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        options.insert(key.into(), value);
    }
    if let Some(data) = &arguments.data {
        options.insert("data".into(), data.to_string_lossy().into());
    }
    let spec = TaskSpec { name, options };
    let task = task::open(&spec)?;
    let split: Split = arguments.split.parse().map_err(anyhow::Error::msg)?;
    let seed = arguments.sampling.seed;
    let count = match (task.count(split)?, arguments.limit) {
        (Some(count), limit) => count.min(limit.unwrap_or(usize::MAX) as u64),
        (None, limit) => limit.unwrap_or(200) as u64,
    };
    let problems =
        (0..count).map(|index| task.problem(split, seed, index)).collect::<Result<Vec<Problem>, _>>()?;
    let mut sampling = arguments.sampling.sampling()?;
    if arguments.samples > 1 && sampling.temperature == 0.0 {
        sampling.temperature = 1.0;
    }
    let endpoint = arguments.endpoint.open(&arguments.sampling)?;
    let plan = Plan {
        split,
        seed,
        step: 0,
        samples: arguments.samples.max(1),
        sampling,
        max_new_tokens: arguments.sampling.max_new_tokens,
        stop: arguments.sampling.stop.clone(),
        step_separator: arguments.best_of.as_ref().map(|_| arguments.step_separator.clone()),
        purpose: Purpose::Evaluation,
    };
    if let Some(endpoint) = endpoint {
        let exam = examine_chat(endpoint.as_ref(), task.as_ref(), &problems, &plan, arguments.batch);
        let faults = || exam.traces.iter().flatten().flat_map(|trace| &trace.faults);
        if let Some(fault) = faults().next() {
            let (failed, all) = (faults().count(), problems.len() * plan.samples);
            session.say(&format!("{failed} of {all} calls failed, such as: {}", fault.cause));
        }
        // Nobody here knows which weights answer there: the address stands for them.
        let identity = Identity { name: endpoint.name().to_owned(), fingerprint: endpoint.identity() };
        return tell(session, arguments, &report(spec, &plan, &identity, &exam));
    }
    let model = arguments.model.load(session)?;
    let tools = tools(arguments.tools.as_deref(), task.as_ref())?;
    let player = Player {
        generator: model.generator(arguments.batch),
        codec: &model.codec,
        model: &model.identity.name,
        tools: tools.as_ref().map(|toolbox| toolbox as &dyn lyceum_env::rollout::Desk),
    };
    let total = (problems.len() * plan.samples) as u64;
    let progress = Progress::new("eval", total, 0, session.json);
    let mut exam = examine(&player, task.as_ref(), &problems, &plan, &mut |event| {
        if let Event::Done { .. } = event {
            progress.step("");
        }
    })?;
    progress.finish();
    let best_of = match &arguments.best_of {
        Some(judge) => Some(best_of_n(session, judge, &model, &plan, task.as_ref(), &problems, &mut exam)?),
        None => None,
    };
    tell(session, arguments, &Report { best_of, ..report(spec, &plan, &model.identity, &exam) })
}

/// Writes and prints a report.
fn tell(session: &Session, arguments: &EvalArgs, report: &Report) -> Result<()> {
    if let Some(out) = &arguments.out {
        lyceum_run::write_file(out, &serde_json::to_vec_pretty(report)?)?;
        session.say(&format!("item by item in {}", out.display()));
    }
    if session.json {
        return session.print_json(report);
    }
    print(report);
    Ok(())
}

/// The tools that a recipe's table `[tools]` gives.
fn tools(recipe: Option<&Path>, task: &dyn task::Task) -> Result<Option<Toolbox>> {
    let Some(path) = recipe else { return Ok(None) };
    let recipe = lyceum_run::Recipe::<lyceum_rl::Recipe>::load(path, &[])?.value;
    let spec = recipe.tools.with_context(|| format!("{} has no table [tools]", path.display()))?;
    Ok(Some(Toolbox::open(&spec, &task.documents())?))
}

fn report(task: TaskSpec, plan: &Plan, identity: &Identity, exam: &Exam) -> Report {
    let items: Vec<Item> = exam
        .traces
        .iter()
        .filter_map(|group| {
            let first = group.first()?;
            let text = |trace: &lyceum_trace::Trace| trace.text_of(lyceum_trace::Source::Sampled);
            let scores = |trace: &lyceum_trace::Trace| {
                trace.rewards.iter().map(|(name, score)| (name.clone(), score.value())).collect()
            };
            Some(Item {
                id: first.problem.id.clone(),
                answer: first.problem.answer.clone(),
                completions: group.iter().map(text).collect(),
                scores: group.iter().map(scores).collect(),
            })
        })
        .collect();
    Report {
        version: 1,
        task,
        split: plan.split,
        model: identity.name.clone(),
        fingerprint: identity.fingerprint.clone(),
        samples: plan.samples,
        components: exam.components.clone(),
        pass_at_k: (plan.samples > 1).then(|| pass_at_k(&items, plan.samples)),
        best_of: None,
        tokens: exam.tokens,
        items,
    }
}

/// The accuracy of the answer that a process reward model likes best among the first 1, 2, 4, ... samples.
fn best_of_n(
    session: &Session,
    judge: &str,
    model: &lyceum_engine::Model,
    plan: &Plan,
    task: &dyn task::Task,
    problems: &[Problem],
    exam: &mut Exam,
) -> Result<BTreeMap<usize, Choice>> {
    let spec = ProcessSpec {
        model: Some(judge.to_owned()),
        separator: plan.step_separator.clone().unwrap_or_default(),
        ..ProcessSpec::default()
    };
    let process = lyceum_rl::rewards::judge(&spec, model, &session.pool()?, &session.downloads())?;
    process.judge(task, problems, &mut exam.traces, model.codec.tokenizer())?;
    let chosen = |n: usize, worth: &dyn Fn(&[f64]) -> f64| -> Estimate {
        let right = |group: &Vec<lyceum_trace::Trace>| {
            let best = group.iter().take(n).max_by(|a, b| worth(&a.process).total_cmp(&worth(&b.process)));
            let score =
                best.and_then(|trace| trace.rewards.get(CORRECT)).and_then(lyceum_trace::Score::value);
            vec![score.unwrap_or(f64::NAN)]
        };
        estimate(&exam.traces.iter().map(right).collect::<Vec<_>>())
    };
    let least = |scores: &[f64]| scores.iter().copied().fold(f64::INFINITY, f64::min);
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    let counts = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|&n| n <= plan.samples);
    let choice = |n| Choice { by_least_step: chosen(n, &least), by_mean_step: chosen(n, &mean) };
    Ok(counts.map(|n| (n, choice(n))).collect())
}

/// The chance that at least one of k answers is right, for k = 1, 2, 4, ... (unbiased, Chen et al. 2021, eq. 1).
fn pass_at_k(items: &[Item], samples: usize) -> BTreeMap<usize, Estimate> {
    let ks = std::iter::successors(Some(1), |k| Some(k * 2)).take_while(|&k| k <= samples);
    ks.map(|k| {
        let per_problem: Vec<Vec<f64>> = items
            .iter()
            .map(|item| {
                let right =
                    item.scores.iter().filter(|s| s.get(CORRECT).copied().flatten() == Some(1.0)).count();
                vec![at_least_one(item.scores.len(), right, k)]
            })
            .collect();
        (k, estimate(&per_problem))
    })
    .collect()
}

/// 1 - C(n - c, k) / C(n, k).
fn at_least_one(n: usize, c: usize, k: usize) -> f64 {
    if n < c + k {
        return 1.0;
    }
    1.0 - (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}

const CORRECT: &str = "correct";

fn print(report: &Report) {
    out!(
        "{} on {} ({}), {} answer(s) a problem",
        report.model,
        report.task.name,
        report.split,
        report.samples
    );
    let width = report.components.keys().map(String::len).max().unwrap_or(0).max(14);
    for (name, estimate) in &report.components {
        out!("{name:<width$} {estimate}");
    }
    for (k, estimate) in report.pass_at_k.iter().flatten() {
        out!("{:<14} {estimate}", format!("pass@{k}"));
    }
    for (n, choice) in report.best_of.iter().flatten() {
        out!("{:<14} {}  (by least step)", format!("best of {n}"), choice.by_least_step);
        out!("{:<14} {}  (by mean step)", "", choice.by_mean_step);
    }
    out!("{:<14} {}", "new tokens", report.tokens);
}

fn diff(session: &Session, a: &Path, b: &Path) -> Result<()> {
    let (first, second) = (read(a)?, read(b)?);
    if first.task != second.task || first.split != second.split {
        bail!(
            "{} and {} are of different tasks, options or splits: nothing is paired",
            a.display(),
            b.display()
        );
    }
    let mut rows = Vec::new();
    // Means that no item has, such as those of a kind of problems, are not paired.
    let paired = |name: &&String| {
        let scored = |report: &Report| {
            report.items.iter().any(|item| item.scores.iter().any(|scores| scores.contains_key(*name)))
        };
        scored(&first) && scored(&second)
    };
    for name in first.components.keys().filter(paired) {
        let of = |report: &Report| -> BTreeMap<String, f64> {
            report.items.iter().map(|item| (item.id.clone(), mean_score(item, name))).collect()
        };
        let (ours, theirs) = (of(&first), of(&second));
        let pairs: Vec<Vec<(f64, f64)>> =
            theirs.iter().filter_map(|(id, &theirs)| Some(vec![(theirs, *ours.get(id)?)])).collect();
        let only =
            |won: fn(&(f64, f64)) -> bool| pairs.iter().flatten().filter(|pair| won(pair)).count() as u64;
        let binary = pairs.iter().flatten().all(|&(x, y)| [0.0, 1.0].contains(&x) && [0.0, 1.0].contains(&y));
        let p = binary.then(|| mcnemar_exact(only(|p| p.0 > p.1), only(|p| p.0 < p.1)));
        rows.push((
            name,
            first.components[name],
            second.components[name],
            Bootstrap::default().difference(&pairs),
            p,
        ));
    }
    let behaviour = behaviour(&first, &second);
    if session.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, a, b, difference, p)| {
                serde_json::json!({"component": name, "a": a, "b": b, "b_minus_a": difference, "mcnemar_p": p})
            })
            .collect();
        return match behaviour {
            Some(rates) => session.print_json(&serde_json::json!({"components": rows, "behaviour": rates})),
            None => session.print_json(&rows),
        };
    }
    out!("a: {} ({})\nb: {} ({})", first.model, a.display(), second.model, b.display());
    for (name, a, b, difference, p) in rows {
        out!("{name}");
        out!("  a      {a}\n  b      {b}\n  b - a  {difference}  (paired by problem)");
        if let Some(p) = p {
            out!("  McNemar's exact test: p = {p:.4}");
        }
    }
    for (name, estimate) in behaviour.iter().flatten() {
        out!("{name:<15} {estimate}  (of all problems)");
    }
    Ok(())
}

/// How b behaves where a is the baseline (OTC, arXiv 2504.14870): the shares of problems that both solve, b with fewer calls
/// or with more; that only b or only a solves; and that only b solves, with fewer calls. `None` where no calls were counted.
fn behaviour(a: &Report, b: &Report) -> Option<BTreeMap<&'static str, Estimate>> {
    let of = |report: &Report| -> Option<BTreeMap<String, (bool, f64)>> {
        report.components.get(CALLS)?;
        let one =
            |item: &Item| (item.id.clone(), (mean_score(item, CORRECT) >= 0.5, mean_score(item, CALLS)));
        Some(report.items.iter().map(one).collect())
    };
    let (before, after) = (of(a)?, of(b)?);
    let pairs: Vec<[(bool, f64); 2]> =
        after.iter().filter_map(|(id, &after)| Some([*before.get(id)?, after])).collect();
    let rate = |holds: fn([(bool, f64); 2]) -> bool| {
        lyceum_stats::proportion(pairs.iter().filter(|pair| holds(**pair)).count(), pairs.len())
    };
    Some(BTreeMap::from([
        ("fewer calls", rate(|[a, b]| a.0 && b.0 && b.1 < a.1)),
        ("more calls", rate(|[a, b]| a.0 && b.0 && b.1 > a.1)),
        ("only b right", rate(|[a, b]| !a.0 && b.0)),
        ("only a right", rate(|[a, b]| a.0 && !b.0)),
        ("better and less", rate(|[a, b]| !a.0 && b.0 && b.1 < a.1)),
    ]))
}

fn mean_score(item: &Item, name: &str) -> f64 {
    let values: Vec<f64> =
        item.scores.iter().filter_map(|scores| scores.get(name).copied().flatten()).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

fn read(path: &Path) -> Result<Report> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is no result of `lyceum eval --out`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviour_by_a_worked_example() {
        let report = |answers: &[(f64, f64)]| {
            let item = |(id, &(right, calls)): (usize, &(f64, f64))| Item {
                id: id.to_string(),
                answer: None,
                completions: Vec::new(),
                scores: vec![BTreeMap::from([(CORRECT.into(), Some(right)), (CALLS.into(), Some(calls))])],
            };
            let some = estimate(&[vec![1.0]]);
            Report {
                version: 1,
                task: TaskSpec { name: "facts".into(), options: serde_json::Map::new() },
                split: Split::Heldout,
                model: "m".into(),
                fingerprint: String::new(),
                samples: 1,
                components: BTreeMap::from([(CALLS.into(), some)]),
                pass_at_k: None,
                best_of: None,
                tokens: some,
                items: answers.iter().enumerate().map(item).collect(),
            }
        };
        let a = report(&[(1.0, 3.0), (1.0, 1.0), (1.0, 2.0), (0.0, 2.0), (0.0, 1.0)]);
        let b = report(&[(1.0, 1.0), (1.0, 2.0), (0.0, 0.0), (1.0, 1.0), (1.0, 1.0)]);
        let rates = behaviour(&a, &b).unwrap();
        let expected = [
            ("better and less", 0.2),
            ("fewer calls", 0.2),
            ("more calls", 0.2),
            ("only a right", 0.2),
            ("only b right", 0.4),
        ];
        for ((name, rate), (wanted, value)) in rates.into_iter().zip(expected) {
            assert_eq!((name, rate.mean), (wanted, value));
        }
        let silent = Report { components: BTreeMap::new(), ..report(&[(1.0, 0.0)]) };
        assert!(behaviour(&silent, &b).is_none());
    }

    #[test]
    fn pass_at_k_by_counting() {
        // Of 4 answers 1 is right: a pair holds it in 3 of 6 cases.
        assert!((at_least_one(4, 1, 2) - 0.5).abs() < 1e-12);
        assert_eq!(at_least_one(4, 0, 2), 0.0);
        assert_eq!(at_least_one(4, 3, 2), 1.0);
        assert!((at_least_one(5, 2, 1) - 0.4).abs() < 1e-12);
    }
}
