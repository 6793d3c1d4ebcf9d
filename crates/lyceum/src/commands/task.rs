//! `lyceum task list | validate`.

use anyhow::{Result, bail};
use lyceum_env::Split;
use lyceum_env::task::{self, Task, TaskSpec, Validation};
use serde::Serialize;

use crate::cli::TaskCommand;
use crate::out;
use crate::session::Session;

/// Tasks that can't be opened without options of the user's.
const NEED_OPTIONS: [&str; 2] = ["jsonl", "mix"];

/// Lists tasks, or checks that their verifiers call gold answers right and empty ones wrong.
pub fn run(session: &Session, command: &TaskCommand) -> Result<()> {
    match command {
        TaskCommand::List => list(session),
        TaskCommand::Validate { task: Some(name), limit } => validate(session, &[name.as_str()], *limit),
        TaskCommand::Validate { task: None, limit } => {
            let names: Vec<&str> = task::names().filter(|name| !NEED_OPTIONS.contains(name)).collect();
            validate(session, &names, *limit)
        }
    }
}

fn open(name: &str) -> Result<Box<dyn Task>, lyceum_env::Error> {
    task::open(&TaskSpec { name: name.to_owned(), options: serde_json::Map::new() })
}

fn list(session: &Session) -> Result<()> {
    #[derive(Serialize)]
    struct Row {
        name: &'static str,
        about: String,
        splits: Vec<(Split, Option<u64>)>,
        rewards: Vec<&'static str>,
    }
    let row = |name: &'static str| match open(name) {
        Ok(task) => Row {
            name,
            about: task.description().to_owned(),
            splits: task.splits().iter().map(|&split| (split, task.count(split).ok().flatten())).collect(),
            rewards: task.components().iter().map(|component| component.name).collect(),
        },
        Err(error) => Row { name, about: format!("({error})"), splits: Vec::new(), rewards: Vec::new() },
    };
    let rows: Vec<Row> = task::names().map(row).collect();
    if session.json {
        return session.print_json(&rows);
    }
    for row in rows {
        out!("{:<10} {}", row.name, row.about);
        let splits = row.splits.iter().map(|(split, count)| match count {
            Some(count) => format!("{split} {count}"),
            None => format!("{split} (endless)"),
        });
        let splits: Vec<String> = splits.collect();
        if !splits.is_empty() {
            out!("{:<10} {}; rewards: {}", "", splits.join(", "), row.rewards.join(", "));
        }
    }
    Ok(())
}

fn validate(session: &Session, names: &[&str], limit: usize) -> Result<()> {
    let validations: Vec<Validation> = names
        .iter()
        .map(|name| task::validate(open(name)?.as_ref(), limit as u64))
        .collect::<Result<_, lyceum_env::Error>>()?;
    if session.json {
        session.print_json(&validations)?;
    } else {
        for validation in &validations {
            let checked: Vec<String> =
                validation.checked.iter().map(|(split, count)| format!("{split} {count}")).collect();
            let verdict = if validation.passed() { "ok" } else { "FAILED" };
            out!("{:<10} {verdict:<7} {}", validation.task, checked.join(", "));
            for fault in validation.faults.iter().take(5) {
                out!("           {}: {} answer: {}", fault.problem, fault.completion, fault.message);
            }
        }
    }
    let failed = validations.iter().filter(|validation| !validation.passed()).count();
    if failed > 0 {
        bail!("{failed} task(s) score some answers wrongly");
    }
    Ok(())
}
