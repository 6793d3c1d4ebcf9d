//! `lyceum train --dry-run`: the resolved recipe, the memory it takes and the time.
//!
//! Both are measured, not guessed: an evaluation, a checkpoint and the first rounds are done as the run would do them.
//! The checkpoint goes where the run would, and is removed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use lyceum_env::reward::Rewards;
use lyceum_env::task::{self, Task};
use lyceum_env::tool::Toolbox;
use lyceum_rl::learner::Learner;
use lyceum_rl::memory::Memory;
use lyceum_rl::recipe::{Loop, Recipe};
use lyceum_rl::round::{Collected, Setting};
use lyceum_rl::train::{examine_judge, examine_split};
use lyceum_rl::{labels, pairs, rewards, round, supervised};
use lyceum_run::RunFolder;
use lyceum_trace::Trace;

use crate::commands::bench::peak_memory;
use crate::commands::train;
use crate::out;
use crate::session::Session;

/// Fewest rounds that are timed after the first, which is timed on its own: it touches its memory for the first time.
const TIMED: u64 = 2;
/// More are timed until this many seconds have passed, as short rounds vary most.
const SECONDS: f64 = 10.0;

/// What a run is made of: how often, and seconds for each.
struct Plan {
    load: f64,
    first_round: f64,
    rounds: u64,
    round: f64,
    evaluations: u64,
    evaluation: f64,
    checkpoints: u64,
    checkpoint: f64,
}

impl Plan {
    fn seconds(&self) -> f64 {
        self.load
            + self.first_round
            + self.rounds.saturating_sub(1) as f64 * self.round
            + self.evaluations as f64 * self.evaluation
            + self.checkpoints as f64 * self.checkpoint
    }
}

/// Prints the plan of a run that would go to `out`.
pub fn run(session: &Session, recipe: &lyceum_run::Recipe<Recipe>, out: Option<&Path>) -> Result<()> {
    let text = recipe.to_toml()?;
    let recipe = &recipe.value;
    session.say("trying an evaluation, a checkpoint and a few rounds to measure memory and time");
    let begin = Instant::now();
    let task = task::open(&recipe.task)?;
    let tools = train::toolbox(recipe, task.as_ref())?;
    let recorded = train::recorded(recipe)?;
    let pool = session.pool()?;
    let mut learner = Learner::load(recipe, &pool, &session.downloads())?;
    let weights = learner.model.policy.decoder().bytes();
    let load = begin.elapsed().as_secs_f64();

    let begin = Instant::now();
    for split in &recipe.eval.splits {
        if examine_judge(&learner, recipe, task.as_ref(), *split)?.is_none() {
            examine_split(&learner, recipe, task.as_ref(), tools.as_ref(), *split, 0)?;
        }
    }
    let evaluation = begin.elapsed().as_secs_f64();

    let checkpoint = saved(&learner, &text, out)?;

    let mut rewards = rewards::rewards(recipe, &learner.model, &pool, &session.downloads())?;
    let mut memory = Memory::default();
    let mut one = |number: u64| {
        let recorded = recorded.as_ref().map(|rounds| rounds[number as usize % rounds.len()].as_slice());
        learn(
            &mut learner,
            recipe,
            task.as_ref(),
            tools.as_ref(),
            &mut rewards,
            &mut memory,
            recorded,
            number,
        )
    };
    let begin = Instant::now();
    one(0)?;
    let first_round = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let mut timed = 0;
    while timed < TIMED || (timed + 1 < recipe.rounds() && begin.elapsed().as_secs_f64() < SECONDS) {
        timed += 1;
        one(timed)?;
    }
    let rounds = recipe.rounds();
    let after = |holds: &dyn Fn(u64) -> bool| 1 + (1..=rounds).filter(|&done| holds(done)).count() as u64;
    let plan = Plan {
        load,
        first_round,
        rounds,
        round: begin.elapsed().as_secs_f64() / timed as f64,
        evaluations: after(&|done| recipe.evaluates_after(done)),
        evaluation,
        checkpoints: after(&|done| recipe.saves_after(done)),
        checkpoint,
    };
    tell(session, &text, &plan, weights)
}

/// One round as the run does it.
fn learn(
    learner: &mut Learner,
    recipe: &Recipe,
    task: &dyn Task,
    tools: Option<&Toolbox>,
    rewards: &mut Rewards,
    memory: &mut Memory,
    recorded: Option<&[Vec<Trace>]>,
    number: u64,
) -> Result<()> {
    match recipe.training()? {
        Loop::Sft(sft) => {
            supervised::round(learner, recipe, sft, task, tools, number)?;
        }
        Loop::Labels(spec) => {
            labels::round(learner, recipe, spec, task, number)?;
        }
        Loop::Pairs(spec) => {
            pairs::round(learner, recipe, spec, task, number)?;
        }
        Loop::Policy(policy) => {
            let setting = Setting { recipe, spec: policy, task, tools };
            let collected = match recorded {
                Some(groups) => Collected { groups: groups.to_vec(), numbers: Vec::new() },
                None => round::collect(setting, learner, rewards, memory, None, number, &mut |_| {})?,
            };
            round::learn(setting, learner, memory, &collected, number)?;
        }
    }
    Ok(())
}

/// A run folder that goes away again.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over is seen in the listing of the folder; the plan is not worth less for it.
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Seconds that a checkpoint takes on the disk that the run would go to.
fn saved(learner: &Learner, recipe: &str, out: Option<&Path>) -> Result<f64> {
    let beside = out.map(|out| out.parent().filter(|parent| !parent.as_os_str().is_empty()));
    let wanted = beside.map_or(Path::new(train::RUNS), |parent| parent.unwrap_or(Path::new(".")));
    // The nearest folder that exists: none is made that would stay.
    let parent = wanted.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let scratch = Scratch(parent.join(format!(".dry-run-{}", std::process::id())));
    let mut folder = RunFolder::create_at(&scratch.0, recipe)
        .with_context(|| format!("measuring a checkpoint in {}", scratch.0.display()))?;
    let begin = Instant::now();
    folder.save(0, None, |writer| learner.save(writer))?;
    Ok(begin.elapsed().as_secs_f64())
}

fn tell(session: &Session, recipe: &str, plan: &Plan, weights: usize) -> Result<()> {
    let peak = peak_memory();
    let Plan { load, rounds, round, evaluations, evaluation, checkpoints, checkpoint, .. } = plan;
    let seconds = plan.seconds();
    if session.json {
        return session.print_json(&serde_json::json!({
            "recipe": recipe, "peak_bytes": peak, "weight_bytes": weights,
            "seconds": seconds, "minutes": seconds / 60.0, "seconds_to_load": load,
            "rounds": rounds, "seconds_per_round": round,
            "evaluations": evaluations, "seconds_per_evaluation": evaluation,
            "checkpoints": checkpoints, "seconds_per_checkpoint": checkpoint,
        }));
    }
    print!("{recipe}");
    out!(
        "\nmemory   {:.2} GB at most, of which weights {:.2} GB",
        gigabytes(peak as usize),
        gigabytes(weights)
    );
    out!(
        "time     {:.1} minutes: loading {load:.1} s, {rounds} rounds of {round:.2} s, {evaluations} evaluations of \
         {evaluation:.2} s, {checkpoints} checkpoints of {checkpoint:.2} s",
        seconds / 60.0
    );
    Ok(())
}

fn gigabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e9
}
