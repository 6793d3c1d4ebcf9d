//! `lyceum train`.

use std::path::Path;

use anyhow::{Context, Result};
use lyceum_env::reward::Rewards;
use lyceum_env::task::{self, Task};
use lyceum_env::tool::Toolbox;
use lyceum_rl::learner::Learner;
use lyceum_rl::memory::Memory;
use lyceum_rl::recipe::Recipe;
use lyceum_rl::rewards::rewards;
use lyceum_rl::train::{Outcome, Training};
use lyceum_run::{Checkpoint, Interrupt, Layout, RunFolder};
use lyceum_trace::Trace;

use crate::arithmetic::Arithmetic;
use crate::cli::TrainArgs;
use crate::out;
use crate::session::Session;

/// Where runs go unless told otherwise.
pub(crate) const RUNS: &str = "runs";

/// Trains, resumes or plans.
pub fn run(session: &Session, arguments: &TrainArgs) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let outcome = match &arguments.resume {
        Some(run) => resume(session, run, interrupt)?,
        None => {
            let path = arguments.recipe.as_deref().context("give a recipe, or --resume RUN")?;
            let mut recipe = lyceum_run::Recipe::<Recipe>::load(path, &arguments.set)?;
            if let Some(traces) = &arguments.from_traces {
                let policy = recipe.value.policy.as_mut();
                let policy = policy.context("--from-traces needs a recipe with a table [policy]")?;
                // In the recipe, so that a resumed run goes on with them.
                policy.from_traces = Some(std::path::absolute(traces)?);
            }
            recipe.value.validate()?;
            if arguments.dry_run {
                return crate::commands::dry_run::run(session, &recipe, arguments.out.as_deref());
            }
            start(session, recipe, arguments.out.as_deref(), interrupt)?
        }
    };
    report(session, &outcome)
}

/// Begins a run in a new folder.
pub fn start(
    session: &Session,
    mut recipe: lyceum_run::Recipe<Recipe>,
    out: Option<&Path>,
    interrupt: Interrupt,
) -> Result<Outcome> {
    // Whatever can be refused is refused before there is a folder.
    let task = task::open(&recipe.value.task)?;
    toolbox(&recipe.value, task.as_ref())?;
    let recorded = recorded(&recipe.value)?;
    let pool = session.pool()?;
    let learner = Learner::load(&recipe.value, &pool, &session.downloads())?;
    let rewards = rewards(&recipe.value, &learner.model, &pool, &session.downloads())?;
    pin(&mut recipe, &learner, &rewards)?;
    Arithmetic::of(&pool).record(&mut recipe);
    let text = recipe.to_toml()?;
    let folder = match out {
        Some(path) => RunFolder::create_at(path, &text)?,
        None => RunFolder::create(Path::new(RUNS), &recipe.value.name, &text)?,
    };
    session.say(&format!("run {}", folder.layout().root().display()));
    train(session, &recipe.value, learner, task.as_ref(), folder, None, recorded, rewards, interrupt)
}

/// Continues a run from its newest whole checkpoint.
pub fn resume(session: &Session, run: &Path, interrupt: Interrupt) -> Result<Outcome> {
    let resumed = RunFolder::resume(run)?;
    for note in &resumed.notes {
        session.say(note);
    }
    let mut recipe = lyceum_run::Recipe::<Recipe>::load(&resumed.folder.layout().recipe(), &[])?;
    recipe.value.validate()?;
    let task = task::open(&recipe.value.task)?;
    let recorded = recorded(&recipe.value)?;
    let begun = Arithmetic::recorded(&recipe);
    let pool = session.pool_like(begun)?;
    let now = Arithmetic::of(&pool);
    if let Some(begun) = begun.filter(|begun| *begun != now) {
        session.say(&format!(
            "this run began with {begun} and goes on with {now}: it will not be bit-identical to one never stopped"
        ));
    }
    let learner = Learner::load(&recipe.value, &pool, &session.downloads())?;
    let rewards = rewards(&recipe.value, &learner.model, &pool, &session.downloads())?;
    pin(&mut recipe, &learner, &rewards)?;
    let checkpoint = resumed.checkpoint.as_ref();
    train(
        session,
        &recipe.value,
        learner,
        task.as_ref(),
        resumed.folder,
        checkpoint,
        recorded,
        rewards,
        interrupt,
    )
}

/// Pins the weights that the run depends on: another model, or another judge, is another run.
fn pin(recipe: &mut lyceum_run::Recipe<Recipe>, learner: &Learner, rewards: &Rewards) -> Result<()> {
    recipe.pin("model", &learner.model.identity.fingerprint)?;
    let judge = rewards.process().and_then(lyceum_env::reward::ProcessReward::fingerprint);
    if let Some(judge) = judge.or(rewards.judge_fingerprint()) {
        recipe.pin("judge", judge)?;
    }
    Ok(())
}

fn train(
    session: &Session,
    recipe: &Recipe,
    learner: Learner,
    task: &dyn Task,
    folder: RunFolder,
    checkpoint: Option<&Checkpoint>,
    recorded: Option<Vec<Vec<Vec<Trace>>>>,
    rewards: Rewards,
    interrupt: Interrupt,
) -> Result<Outcome> {
    let folder = folder.keeping(recipe.run.keep);
    let layout = folder.layout().clone();
    let training = Training {
        recipe,
        learner,
        task,
        tools: toolbox(recipe, task)?,
        rewards,
        memory: Memory::default(),
        folder,
        recorded,
        interrupt,
        quiet: session.json,
    };
    let outcome = training.run(checkpoint);
    // The report is worth most when something went wrong.
    lyceum_run::write_report(&layout)?;
    Ok(outcome?)
}

/// The tools of a recipe, if it has any.
pub(crate) fn toolbox(recipe: &Recipe, task: &dyn Task) -> Result<Option<Toolbox>> {
    let open = |spec| Toolbox::open(spec, &task.documents());
    Ok(recipe.tools.as_ref().map(open).transpose()?)
}

/// The rounds of groups that the recipe names, if any: neighbours of one step are a round, traces in it that begin at one
/// problem, or at one state of it, a group.
pub(crate) fn recorded(recipe: &Recipe) -> Result<Option<Vec<Vec<Vec<Trace>>>>> {
    let Some(path) = recipe.policy.as_ref().and_then(|policy| policy.from_traces.as_deref()) else {
        return Ok(None);
    };
    let mut rounds: Vec<Vec<Vec<Trace>>> = Vec::new();
    let mut step = None;
    for trace in lyceum_trace::Reader::open(path)? {
        let trace = trace?;
        if rounds.is_empty() || step != trace.step {
            step = trace.step;
            rounds.push(Vec::new());
        }
        let Some(round) = rounds.last_mut() else { continue };
        let begins_alike = |group: &&mut Vec<Trace>| {
            (&group[0].problem.id, group[0].prefix) == (&trace.problem.id, trace.prefix)
        };
        match round.iter_mut().find(begins_alike) {
            Some(group) => group.push(trace),
            None => round.push(vec![trace]),
        }
    }
    anyhow::ensure!(!rounds.is_empty(), "{} holds no trace; make some with `lyceum rollout`", path.display());
    Ok(Some(rounds))
}

fn report(session: &Session, outcome: &Outcome) -> Result<()> {
    let folder = outcome.folder.display();
    if session.json {
        let evals: serde_json::Map<String, serde_json::Value> = outcome
            .evals
            .iter()
            .map(|(split, estimate)| Ok((split.clone(), serde_json::to_value(estimate)?)))
            .collect::<Result<_>>()?;
        return session.print_json(&serde_json::json!({
            "run": outcome.folder, "rounds": outcome.rounds, "interrupted": outcome.interrupted, "evals": evals,
        }));
    }
    for (split, estimate) in &outcome.evals {
        out!("{split:<10} {} {estimate}", outcome.measure);
    }
    if outcome.interrupted {
        out!("stopped after round {}; continue with: lyceum train --resume {folder}", outcome.rounds);
    } else {
        out!("done: {} rounds", outcome.rounds);
    }
    out!("look:      lyceum view {folder}");
    out!("report:    {}", Layout::new(&outcome.folder).report().display());
    Ok(())
}
