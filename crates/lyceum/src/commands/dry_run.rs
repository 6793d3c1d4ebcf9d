//! `lyceum train --dry-run`: the resolved recipe, the memory it takes and the time.
//!
//! Both are measured, not guessed: the run's first rounds are done in memory, nothing is written.

use std::time::Instant;

use anyhow::Result;
use lyceum_env::task;
use lyceum_rl::learner::Learner;
use lyceum_rl::recipe::{Loop, Recipe};
use lyceum_rl::{labels, round, supervised};

use crate::commands::bench::peak_memory;
use crate::out;
use crate::session::Session;

/// Rounds that are timed, after one that is not.
const TIMED: u64 = 2;

/// Prints the plan.
pub fn run(session: &Session, recipe: &lyceum_run::Recipe<Recipe>) -> Result<()> {
    let text = recipe.to_toml()?;
    let recipe = &recipe.value;
    let task = task::open(&recipe.task)?;
    let pool = session.pool()?;
    let mut learner = Learner::load(recipe, &pool, &session.downloads())?;
    let weights = learner.model.policy.decoder().bytes();
    session.say(&format!("trying {} rounds to measure memory and time", TIMED + 1));
    let mut rewards = round::rewards(recipe, &pool, &session.downloads())?;
    let mut one = |number: u64| -> Result<()> {
        match recipe.training()? {
            Loop::Sft(sft) => {
                supervised::round(&mut learner, recipe, sft, task.as_ref(), number)?;
            }
            Loop::Labels(spec) => {
                labels::round(&mut learner, recipe, spec, task.as_ref(), number)?;
            }
            Loop::Policy(policy) => {
                let groups = round::collect(
                    &learner,
                    recipe,
                    policy,
                    task.as_ref(),
                    &mut rewards,
                    None,
                    number,
                    &mut |_| {},
                )?;
                round::learn(&mut learner, recipe, policy, &groups, number)?;
            }
        }
        Ok(())
    };
    one(0)?;
    let begin = Instant::now();
    for number in 1..=TIMED {
        one(number)?;
    }
    let round = begin.elapsed().as_secs_f64() / TIMED as f64;
    let rounds = recipe.rounds();
    let minutes = round * rounds as f64 / 60.0;
    let peak = peak_memory();
    if session.json {
        return session.print_json(&serde_json::json!({
            "recipe": text, "rounds": rounds, "seconds_per_round": round, "minutes": minutes,
            "peak_bytes": peak, "weight_bytes": weights,
        }));
    }
    print!("{text}");
    out!(
        "\nmemory   {:.2} GB at most, of which weights {:.2} GB",
        gigabytes(peak as usize),
        gigabytes(weights)
    );
    out!(
        "time     {minutes:.1} minutes for {rounds} rounds of {round:.2} s, evaluations and checkpoints apart"
    );
    Ok(())
}

fn gigabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e9
}
