//! `lyceum reproduce`: a paper's claims, and what this machine measured.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lyceum_papers::{
    Options, PAPERS, Plan, Program, Progress, Runs, Study, Summary, paper, run_plan, text, write_results,
};
use lyceum_rl::recipe::Recipe;
use lyceum_run::Interrupt;

use crate::cli::ReproduceArgs;
use crate::commands::experiment::Experiment;
use crate::out;
use crate::session::Session;

/// Where the raw runs of studies are.
const WORK: &str = "runs/papers";

/// Runs studies and judges their claims.
pub fn run(session: &Session, arguments: &ReproduceArgs) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let all = PAPERS.iter().filter(|paper| arguments.all && !paper.files.is_empty()).map(|paper| paper.name);
    let mut summaries = Vec::new();
    for name in arguments.study.as_deref().into_iter().chain(all) {
        summaries.push(reproduce(session, arguments, name, &interrupt)?);
        if interrupt.requested() {
            break;
        }
    }
    if session.json {
        return match summaries.as_slice() {
            [summary] if !arguments.all => session.print_json(summary),
            several => session.print_json(&several),
        };
    }
    Ok(())
}

/// Runs one study.
fn reproduce(
    session: &Session,
    arguments: &ReproduceArgs,
    name: &str,
    interrupt: &Interrupt,
) -> Result<Summary> {
    let (study, usual) = find(name)?;
    let work = Path::new(WORK).join(&study.name);
    let results = match &arguments.out {
        Some(folder) => folder.clone(),
        None if arguments.quick => Path::new("runs").join(format!("quick-{}", study.name)),
        None => usual,
    };
    let options = Options { quick: arguments.quick, seeds: arguments.seeds };
    let plan = Plan::new(study, options, &work)?;
    // Whatever can be refused is refused before anything runs.
    for (path, sets) in plan.recipes() {
        let place = || path.display().to_string();
        match plan.study.file.runs {
            Runs::Train => {
                let recipe = lyceum_run::Recipe::<Recipe>::load(path, sets).with_context(place)?;
                recipe.value.validate().with_context(place)?;
            }
            Runs::Experiment => {
                lyceum_run::Recipe::<Experiment>::load(path, sets).with_context(place)?;
            }
        }
    }
    let mut environment = session.environment();
    if let Some(data) = &arguments.data {
        let data = std::path::absolute(data)?;
        anyhow::ensure!(data.is_dir(), "--data: {} is no folder", data.display());
        environment.push(("LYCEUM_DATA".into(), data.to_string_lossy().into_owned()));
    }
    let program = Program { executable: std::env::current_exe()?, environment };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let jobs = arguments.jobs.map_or(session.threads().unwrap_or(cores), |jobs| jobs as usize);
    session.say(&format!("{}: {} runs, results in {}", plan.study.name, plan.runs.len(), results.display()));
    let say = |line: &str| {
        if !session.json {
            eprintln!("{line}");
        }
    };
    let progress = Progress { jobs, threads: session.threads(), interrupt, say: &say };
    let finished = run_plan(&plan, &program, &results, &progress)?;
    let summary = write_results(&plan, &results)?;
    if !session.json {
        out!("{}", text(&summary));
        out!("results: {}", results.display());
        if !finished {
            out!("stopped; the same command goes on where this one was");
        }
    }
    Ok(summary)
}

/// The study of a name, and where its results go: a folder's own, the repository's if we are in it, or the built-in one.
fn find(name: &str) -> Result<(Study, PathBuf)> {
    let in_repository = Path::new("papers").join(name);
    let is_path = name.contains(std::path::MAIN_SEPARATOR) || Study::is_in(Path::new(name));
    for folder in [PathBuf::from(name), in_repository] {
        if Study::is_in(&folder) {
            return Ok((Study::read(&folder)?, folder.join("results")));
        }
        anyhow::ensure!(!is_path, "there is no study.toml in {}", folder.display());
    }
    let study = paper(name)?.unpack(Path::new(WORK))?;
    Ok((study, Path::new("reproduce").join(name)))
}
