//! The trainer: one plain loop that does not know which paper it is running.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use lyceum_engine::Event;
use lyceum_env::exam::{Exam, examine};
use lyceum_env::reward::Rewards;
use lyceum_env::rollout::{Desk, Plan, Player};
use lyceum_env::tool::Toolbox;
use lyceum_env::{Problem, Split, Task};
use lyceum_run::{
    Alarm, AlarmRule, Checkpoint, Interrupt, Journal, MetricsLog, Progress, Row, RunFolder, read_rows,
};
use lyceum_stats::{Estimate, Purpose};
use lyceum_trace::{Trace, Writer};

use crate::learner::Learner;
use crate::memory::Memory;
use crate::recipe::{Loop, PolicySpec, PrecisionSpec, Recipe};
use crate::round::{Collected, Setting};
use crate::{Error, Result, labels, pairs, round, supervised};

/// How a training run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Rounds done, those of earlier sittings included.
    pub rounds: u64,
    /// Whether the user stopped it before its end.
    pub interrupted: bool,
    /// What the held-out evaluation measures: `correct` answers, or the judgement of steps or pairs.
    pub measure: &'static str,
    /// The last held-out evaluation by split.
    pub evals: Vec<(String, Estimate)>,
    /// The run's folder.
    pub folder: PathBuf,
}

/// What a run works with.
pub struct Training<'a> {
    /// The recipe, validated.
    pub recipe: &'a Recipe,
    /// The model.
    pub learner: Learner,
    /// Where problems come from.
    pub task: &'a dyn Task,
    /// What the model may call.
    pub tools: Option<Toolbox>,
    /// What is rewarded.
    pub rewards: Rewards,
    /// What it remembers; of a fresh run, nothing.
    pub memory: Memory,
    /// The run's folder.
    pub folder: RunFolder,
    /// Recorded rollouts to train on instead of new ones, a list of groups a round.
    pub recorded: Option<Vec<Vec<Vec<Trace>>>>,
    /// Whether to stop.
    pub interrupt: Interrupt,
    /// Whether to keep stderr free of progress.
    pub quiet: bool,
}

impl Training<'_> {
    /// Runs to the end or to the user's interruption, from `checkpoint` if there is one.
    ///
    /// # Errors
    /// The first fault that concerns the whole run; the last good checkpoint is then in the folder.
    pub fn run(mut self, checkpoint: Option<&Checkpoint>) -> Result<Outcome> {
        let rounds = self.recipe.rounds();
        let mut done = 0;
        if let Some(checkpoint) = checkpoint {
            self.learner.restore(checkpoint)?;
            self.memory = checkpoint.json(MEMORY)?;
            done = checkpoint.step();
        }
        let layout = self.folder.layout().clone();
        let mut metrics = MetricsLog::open(&layout)?;
        let mut journal = Journal::open(&layout, done)?;
        let mut traces = Writer::append(&layout.trace_file("train"))?.0;
        let mut answers = Writer::append(&layout.trace_file("eval"))?.0;
        let progress = Progress::new(&self.recipe.name, rounds, done, self.quiet);
        let mut evals = Vec::new();
        if checkpoint.is_none() {
            let mut row = Row::new(0);
            self.evaluate(&mut row, &mut evals, &mut answers)?;
            metrics.append(&row)?;
            // Without a score: the best checkpoint is one of training, also where nothing beats the start.
            self.save(0, &[])?;
        }
        let mut interrupted = false;
        while done < rounds && !interrupted {
            let begin = Instant::now();
            let mut row = match self.recipe.training()? {
                Loop::Sft(sft) => {
                    let tools = self.tools.as_ref();
                    supervised::round(&mut self.learner, self.recipe, sft, self.task, tools, done)?
                }
                Loop::Labels(spec) => labels::round(&mut self.learner, self.recipe, spec, self.task, done)?,
                Loop::Pairs(spec) => pairs::round(&mut self.learner, self.recipe, spec, self.task, done)?,
                Loop::Policy(spec) => self.reinforce(spec, done, &mut journal, &mut traces)?,
            };
            row.set_wall("round/seconds", begin.elapsed().as_secs_f64());
            done += 1;
            interrupted = self.interrupt.requested();
            let evaluated = self.recipe.evaluates_after(done);
            if evaluated {
                self.evaluate(&mut row, &mut evals, &mut answers)?;
                row.alarms = self.alarms(&layout, &row)?;
            }
            progress.step(summary(&row));
            metrics.append(&row)?;
            if interrupted || self.recipe.saves_after(done) {
                self.save(done, if evaluated { &evals } else { &[] })?;
            }
        }
        progress.finish();
        let measure = match self.recipe.training()? {
            Loop::Labels(_) => labels::STEP_ACCURACY,
            Loop::Pairs(_) => pairs::PAIR_ACCURACY,
            Loop::Sft(_) | Loop::Policy(_) => CORRECT,
        };
        Ok(Outcome { rounds: done, interrupted, measure, evals, folder: layout.root().to_path_buf() })
    }

    /// A round of reinforcement learning.
    fn reinforce(
        &mut self,
        spec: &PolicySpec,
        done: u64,
        journal: &mut Journal,
        log: &mut Writer,
    ) -> Result<Row> {
        let begin = Instant::now();
        let setting = Setting { recipe: self.recipe, spec, task: self.task, tools: self.tools.as_ref() };
        let collected = match &self.recorded {
            Some(recorded) => {
                Collected { groups: recorded[done as usize % recorded.len()].clone(), numbers: Vec::new() }
            }
            None => round::collect(
                setting,
                &self.learner,
                &mut self.rewards,
                &mut self.memory,
                Some(journal),
                done,
                &mut |_: Event<'_>| {},
            )?,
        };
        let rollout = begin.elapsed().as_secs_f64();
        let mut row = round::learn(setting, &mut self.learner, &mut self.memory, &collected, done)?;
        row.set_wall("round/rollout-seconds", rollout);
        if self.recorded.is_none() {
            self.check_gap(&row, done)?;
            let kept = collected.groups.iter().flatten().filter(|trace| keeps(trace, spec.keep_traces));
            kept.map(|trace| log.write(trace)).collect::<std::result::Result<Vec<()>, _>>()?;
        }
        Ok(row)
    }

    /// Stops the run when generator and trainer no longer agree on what was sampled.
    fn check_gap(&self, row: &Row, done: u64) -> Result<()> {
        let bound = match self.recipe.model.precision {
            PrecisionSpec::F32 => 1e-4,
            PrecisionSpec::Bf16 => 0.02,
        };
        match row.metrics.get("policy/gap") {
            Some(&gap) if gap > bound => Err(Error::Numeric {
                step: done + 1,
                cause: format!(
                    "generator and trainer disagree: mean |difference of log-probabilities| is {gap:.2e}, the bound \
                     is {bound:.0e}; resume from the last checkpoint, and report it if it comes again"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Examines the model on the held-out splits: greedy answers, or the judgement of steps.
    fn evaluate(&self, row: &mut Row, evals: &mut Vec<(String, Estimate)>, log: &mut Writer) -> Result<()> {
        evals.clear();
        for split in &self.recipe.eval.splits {
            if let Some((measure, found)) = examine_judge(&self.learner, self.recipe, self.task, *split)? {
                evals.extend(found.get(measure).map(|estimate| (split.to_string(), *estimate)));
                row.evals.extend(found.into_iter().map(|(name, value)| (format!("{split}/{name}"), value)));
                continue;
            }
            let tools = self.tools.as_ref();
            let exam = examine_split(&self.learner, self.recipe, self.task, tools, *split, row.step)?;
            for (name, estimate) in &exam.components {
                row.evals.insert(format!("{split}/{name}"), *estimate);
            }
            row.evals.insert(format!("{split}/tokens"), exam.tokens);
            if let Some(correct) = exam.components.get(CORRECT) {
                evals.push((split.to_string(), *correct));
            }
            for trace in exam.traces.iter().flatten() {
                log.write(trace)?;
            }
        }
        Ok(())
    }

    /// Reward components that rise while the held-out truth does not.
    fn alarms(&self, layout: &lyceum_run::Layout, newest: &Row) -> Result<Vec<Alarm>> {
        let Some(split) = self.recipe.eval.splits.first() else { return Ok(Vec::new()) };
        let mut rows = read_rows(&layout.metrics())?;
        rows.push(newest.clone());
        let paid = self.recipe.policy.as_ref().map(PolicySpec::paid).unwrap_or_default();
        Ok(AlarmRule::default().alarms(&rows, &paid, &format!("{split}/{CORRECT}")))
    }

    fn save(&mut self, done: u64, evals: &[(String, Estimate)]) -> Result<()> {
        let score = evals.first().map(|(_, estimate)| estimate.mean);
        let (learner, memory) = (&self.learner, &self.memory);
        self.folder.save(done, score, |writer| {
            writer.json(MEMORY, memory)?;
            learner.save(writer)
        })?;
        Ok(())
    }
}

/// How a recipe's model judges a split, and by which measure it is compared; `None` for a recipe whose model answers.
///
/// # Errors
/// [`Error::Data`] for a task without what is judged.
pub fn examine_judge(
    learner: &Learner,
    recipe: &Recipe,
    task: &dyn Task,
    split: Split,
) -> Result<Option<(&'static str, BTreeMap<String, Estimate>)>> {
    Ok(match recipe.training()? {
        Loop::Labels(spec) => {
            Some((labels::STEP_ACCURACY, labels::evaluate(learner, recipe, spec, task, split)?))
        }
        Loop::Pairs(spec) => {
            Some((pairs::PAIR_ACCURACY, pairs::evaluate(learner, recipe, spec, task, split)?))
        }
        Loop::Sft(_) | Loop::Policy(_) => None,
    })
}

/// Examines the model on a split.
///
/// # Errors
/// [`Error::Env`] when the task lacks the split; faults of the model that concern all answers.
pub fn examine_split(
    learner: &Learner,
    recipe: &Recipe,
    task: &dyn Task,
    tools: Option<&Toolbox>,
    split: Split,
    step: u64,
) -> Result<Exam> {
    let count = task.count(split)?.unwrap_or(u64::MAX).min(recipe.eval.limit as u64);
    let problems: Vec<Problem> =
        (0..count).map(|i| task.problem(split, recipe.seed, i)).collect::<std::result::Result<_, _>>()?;
    let batch = recipe.policy.as_ref().map_or(64, |policy| policy.decode_batch);
    let name = format!("{}@step-{step}", learner.model.identity.name);
    let tools = tools.map(|toolbox| toolbox as &dyn Desk);
    let player =
        Player { generator: learner.generator(batch), codec: &learner.model.codec, model: &name, tools };
    let plan = Plan {
        split,
        seed: recipe.seed,
        step,
        samples: 1,
        sampling: lyceum_engine::Sampling {
            temperature: recipe.eval.temperature,
            ..lyceum_engine::Sampling::greedy()
        },
        max_new_tokens: recipe.eval_tokens(),
        stop: Vec::new(),
        step_separator: None,
        purpose: Purpose::Evaluation,
    };
    Ok(examine(&player, task, &problems, &plan, &mut |_| {})?)
}

/// The file of a checkpoint that holds the [`Memory`].
pub const MEMORY: &str = "memory.json";

/// The component that says whether the final answer is right.
const CORRECT: &str = "correct";

/// Keeps a stable share of the traces: the same ones in every run of a recipe.
fn keeps(trace: &Trace, share: f64) -> bool {
    let hash = trace.id.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash >> 11) as f64 / (1u64 << 53) as f64 <= share
}

/// A few words for the progress bar.
fn summary(row: &Row) -> String {
    let shown = [
        "sft/loss",
        "labels/loss",
        "labels/accuracy",
        "pairs/loss",
        "pairs/accuracy",
        "reward/total",
        "policy/entropy",
        "optimizer/gradient-norm",
    ];
    let words = shown.iter().filter_map(|name| Some((name, row.metrics.get(*name)?)));
    let text: Vec<String> = words
        .map(|(name, value)| format!("{} {value:.3}", name.rsplit('/').next().unwrap_or(name)))
        .collect();
    text.join("  ")
}
