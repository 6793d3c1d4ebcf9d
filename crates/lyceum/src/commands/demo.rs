//! `lyceum demo`: a small model learns arithmetic from scratch, by imitation, then by reinforcement.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use lyceum_env::Split;
use lyceum_env::exam::{Exam, examine};
use lyceum_env::rollout::{Plan, Player};
use lyceum_env::task::{self, Task};
use lyceum_rl::learner::weights_of;
use lyceum_rl::recipe::Recipe;
use lyceum_run::Interrupt;
use lyceum_stats::{Estimate, Purpose};
use lyceum_trace::{Score, Source};
use serde::Serialize;

use crate::cli::{DemoArgs, PrecisionArg};
use crate::commands::train;
use crate::models;
use crate::out;
use crate::session::Session;

const SFT: &str = include_str!("../../../../recipes/demo-sft.toml");
const RL: &str = include_str!("../../../../recipes/demo-rl.toml");
const EXAMINED: usize = 500;

/// What the demo found, for programs.
#[derive(Debug, Serialize)]
struct Report {
    parameters: usize,
    problems: usize,
    stages: Vec<Stage>,
    minutes: f64,
    problems_shared_by_train_and_heldout: usize,
    runs: BTreeMap<&'static str, PathBuf>,
}

/// A model at one moment of its education.
#[derive(Debug, Serialize)]
struct Stage {
    name: &'static str,
    heldout: Estimate,
    longer: Estimate,
    examples: Vec<Example>,
}

/// A held-out problem as the model answered it.
#[derive(Clone, Debug, Serialize)]
struct Example {
    problem: String,
    answer: String,
    solution: String,
    correct: bool,
}

/// Teaches and shows.
pub fn run(session: &Session, arguments: &DemoArgs) -> Result<()> {
    let begin = Instant::now();
    let interrupt = Interrupt::listen()?;
    let (sft, rl) = (arguments.out.join("sft"), arguments.out.join("rl"));
    for folder in [&sft, &rl] {
        remove_old_run(folder)?;
    }
    let common = vec![format!("seed={}", arguments.seed)];
    let quick = |key: &str, value: u64| arguments.quick.then(|| format!("{key}={value}"));
    let sets = |more: [Option<String>; 3]| [common.clone(), more.into_iter().flatten().collect()].concat();

    let sft_sets = sets([quick("sft.steps", 30), quick("eval.limit", 20), None]);
    let sft_recipe = lyceum_run::Recipe::<Recipe>::parse(SFT, Path::new("demo-sft.toml"), &sft_sets)?;
    let task = task::open(&sft_recipe.value.task)?;
    session
        .say("Lyceum teaches a model arithmetic, from random weights. Every answer is checked by a program.");
    let examined = if arguments.quick { 50 } else { EXAMINED };
    let seed = arguments.seed;
    let preset = sft_recipe.value.model.name.clone();
    let tokens = sft_recipe.value.eval_tokens();
    let exam_of =
        |name: &'static str, model: &str| stage(session, name, model, task.as_ref(), seed, examined, tokens);
    let untrained = exam_of("untrained", &preset)?;
    show(session, &untrained);

    session.say("\n1. Supervised fine-tuning: it imitates worked solutions.");
    let outcome = train::start(session, sft_recipe, Some(&sft), interrupt.clone())?;
    anyhow::ensure!(!outcome.interrupted, "stopped; run `lyceum demo` again to start over");
    let taught = exam_of("after SFT", &sft.to_string_lossy())?;
    show(session, &taught);

    session.say("\n2. Reinforcement learning: it tries, and what led to right answers becomes more likely.");
    let weights = weights_of(&sft)?.context("supervised fine-tuning left no weights")?;
    let rl_sets = sets([quick("policy.updates", 3), quick("eval.limit", 20), None]);
    let mut rl_recipe = lyceum_run::Recipe::<Recipe>::parse(RL, Path::new("demo-rl.toml"), &rl_sets)?;
    rl_recipe.value.model.name = weights.to_string_lossy().into_owned();
    let outcome = train::start(session, rl_recipe, Some(&rl), interrupt)?;
    anyhow::ensure!(!outcome.interrupted, "stopped; continue with: lyceum train --resume {}", rl.display());
    let trained = exam_of("after RL", &rl.to_string_lossy())?;
    show(session, &trained);

    let report = Report {
        parameters: parameters(session, &rl)?,
        problems: examined,
        minutes: begin.elapsed().as_secs_f64() / 60.0,
        problems_shared_by_train_and_heldout: shared(task.as_ref(), seed, examined)?,
        runs: BTreeMap::from([("sft", sft), ("rl", rl)]),
        stages: vec![untrained, taught, trained],
    };
    if session.json {
        return session.print_json(&report);
    }
    print(&report);
    Ok(())
}

/// Clears what an earlier demo left, and nothing else.
fn remove_old_run(folder: &Path) -> Result<()> {
    if lyceum_run::Layout::existing(folder).is_ok() {
        std::fs::remove_dir_all(folder).with_context(|| format!("removing the old {}", folder.display()))?;
    }
    Ok(())
}

fn stage(
    session: &Session,
    name: &'static str,
    model: &str,
    task: &dyn Task,
    seed: u64,
    problems: usize,
    max_new_tokens: usize,
) -> Result<Stage> {
    let model = models::load(session, model, None, PrecisionArg::F32)?;
    let examine_on = |split: Split| -> Result<Exam> {
        let drawn =
            (0..problems as u64).map(|i| task.problem(split, seed, i)).collect::<Result<Vec<_>, _>>()?;
        let plan = Plan {
            split,
            seed,
            step: 0,
            samples: 1,
            sampling: lyceum_engine::Sampling::greedy(),
            max_new_tokens,
            stop: Vec::new(),
            step_separator: None,
            purpose: Purpose::Evaluation,
        };
        let player = Player { generator: model.generator(64), codec: &model.codec, model: name, tools: None };
        Ok(examine(&player, task, &drawn, &plan, &mut |_| {})?)
    };
    let (heldout, longer) = (examine_on(Split::Heldout)?, examine_on(Split::Longer)?);
    let correct = |exam: &Exam| exam.components.get("correct").copied().context("the task verifies nothing");
    let examples = heldout.traces.iter().flatten().take(3).map(|trace| Example {
        problem: trace.text_of(Source::Prompt).trim_end().to_owned(),
        answer: trace.problem.answer.clone().unwrap_or_default(),
        solution: trace.text_of(Source::Sampled).trim_end().to_owned(),
        correct: trace.rewards.get("correct").and_then(Score::value) == Some(1.0),
    });
    Ok(Stage { name, examples: examples.collect(), heldout: correct(&heldout)?, longer: correct(&longer)? })
}

fn show(session: &Session, stage: &Stage) {
    session.say(&format!("   {:<10} held-out problems solved: {}", stage.name, stage.heldout));
}

fn parameters(session: &Session, run: &Path) -> Result<usize> {
    let model = models::load(session, &run.to_string_lossy(), None, PrecisionArg::F32)?;
    Ok(model.policy.decoder().layout().len())
}

/// Held-out problems whose text is also among as many training problems: the splits are disjoint by hash, so none.
fn shared(task: &dyn Task, seed: u64, count: usize) -> Result<usize> {
    let texts = |split: Split, n: u64| -> Result<std::collections::HashSet<String>> {
        (0..n).map(|i| Ok(task.problem(split, seed, i)?.plain())).collect()
    };
    let train = texts(Split::Train, 20 * count as u64)?;
    Ok(texts(Split::Heldout, count as u64)?.intersection(&train).count())
}

fn print(report: &Report) {
    out!();
    out!("{:<12} {:<34} longer chains", "", "held-out problems solved");
    for stage in &report.stages {
        out!("{:<12} {:<34} {}", stage.name, stage.heldout.to_string(), stage.longer);
    }
    out!(
        "\n{} parameters, {:.1} minutes; 95 % intervals; none of the {} held-out problems is among the training problems.",
        report.parameters,
        report.minutes,
        report.problems
    );
    let (Some(before), Some(after)) = (report.stages.get(1), report.stages.last()) else { return };
    for (old, new) in before.examples.iter().zip(&after.examples).take(2) {
        out!("\nproblem  {}   (answer {})", old.problem, old.answer);
        let mark = |example: &Example| if example.correct { "right" } else { "wrong" };
        let (left, right): (Vec<&str>, Vec<&str>) =
            (old.solution.lines().collect(), new.solution.lines().collect());
        out!("  {:<28} after RL: {}", format!("after SFT: {}", mark(old)), mark(new));
        for line in 0..left.len().max(right.len()) {
            let part = |lines: &[&str]| lines.get(line).copied().unwrap_or_default().to_owned();
            out!("  {:<28} {}", part(&left), part(&right));
        }
    }
    out!("\nLook closer, or go on:");
    out!("  lyceum view {}", report.runs["rl"].display());
    out!("  lyceum chat {}            (write a problem such as  37 +5 *3 -41)", report.runs["rl"].display());
    out!("  lyceum train recipes/grpo-word-problems.toml   reinforcement learning on a real language model");
}
