//! `lyceum rollout`.

use anyhow::{Context, Result};
use lyceum_env::task;
use lyceum_rl::learner::Learner;
use lyceum_rl::memory::Memory;
use lyceum_rl::recipe::Recipe;
use lyceum_rl::rewards::rewards;
use lyceum_rl::round::{Setting, collect};
use lyceum_trace::Writer;

use crate::cli::RolloutArgs;
use crate::commands::train::toolbox;
use crate::out;
use crate::session::Session;

/// Writes scored traces of a recipe's model, without training.
pub fn run(session: &Session, arguments: &RolloutArgs) -> Result<()> {
    let recipe = lyceum_run::Recipe::<Recipe>::load(&arguments.recipe, &arguments.set)?.value;
    recipe.validate()?;
    let spec =
        recipe.policy.as_ref().context("the recipe has no table [policy]: there is nothing to roll out")?;
    let task = task::open(&recipe.task)?;
    let pool = session.pool()?;
    let learner = Learner::load(&recipe, &pool, &session.downloads())?;
    let mut rewards = rewards(&recipe, &learner.model, &pool, &session.downloads())?;
    let tools = toolbox(&recipe, task.as_ref())?;
    let setting = Setting { recipe: &recipe, spec, task: task.as_ref(), tools: tools.as_ref() };
    let mut memory = Memory::default();
    let (mut writer, _) = Writer::append(&arguments.out)?;
    let (mut count, mut sum) = (0usize, 0.0);
    for step in 0..arguments.steps {
        let collected = collect(setting, &learner, &mut rewards, &mut memory, None, step, &mut |_| {})?;
        for trace in collected.groups.iter().flatten() {
            writer.write(trace)?;
            count += 1;
            sum += trace.total.unwrap_or(0.0);
        }
    }
    let mean = sum / count.max(1) as f64;
    if session.json {
        return session
            .print_json(&serde_json::json!({"traces": count, "mean_reward": mean, "out": arguments.out}));
    }
    out!("{count} traces, mean reward {mean:.3}, in {}", arguments.out.display());
    Ok(())
}
