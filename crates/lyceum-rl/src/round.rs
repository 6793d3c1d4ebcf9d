//! One round of reinforcement learning: sample prompts, roll out, score, assign credit, take advantages, step.

use std::cell::RefCell;

use lyceum_engine::Event;
use lyceum_env::reward::{Answers, Rewards};
use lyceum_env::rollout::{Desk, Plan, Player, Start, rollout};
use lyceum_env::tool::{Called, Reply, Toolbox};
use lyceum_env::{Problem, Split, Task};
use lyceum_run::{Journal, Row};
use lyceum_stats::Purpose;
use lyceum_trace::{Boundary, Trace};

use crate::Result;
use crate::credit::token_rewards;
use crate::curriculum::Tally;
use crate::experience::Sequence;
use crate::filter::is_mixed;
use crate::learner::Learner;
use crate::memory::Memory;
use crate::recipe::{PolicySpec, Recipe, Truncated};
use crate::replay::is_right;
use crate::sampler::shuffled;
use crate::signs::signs;
use crate::update::{Group, Scored, UpdateReport, update};

/// The numbers of a round's training problems. Endless tasks number on; finite ones are visited in a fresh random order every
/// epoch.
///
/// # Errors
/// [`Error::Env`](crate::Error::Env) when the task has no training problems.
pub fn numbers(recipe: &Recipe, task: &dyn Task, round: u64, count: usize) -> Result<Vec<u64>> {
    let first = round * count as u64;
    Ok(match task.count(Split::Train)? {
        None => (first..first + count as u64).collect(),
        Some(total) => {
            let drawn = shuffled(recipe.seed, total as usize, first as usize, count);
            drawn.into_iter().map(|index| index as u64).collect()
        }
    })
}

/// The problems of a round ([`numbers`]).
///
/// # Errors
/// [`Error::Env`](crate::Error::Env) when the task has no training problems.
pub fn problems(recipe: &Recipe, task: &dyn Task, round: u64, count: usize) -> Result<Vec<Problem>> {
    let numbers = numbers(recipe, task, round, count)?;
    let problems = numbers.into_iter().map(|number| task.problem(Split::Train, recipe.seed, number));
    Ok(problems.collect::<std::result::Result<_, _>>()?)
}

/// What the rounds of a run are made with.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Its table `policy`.
    pub spec: &'a PolicySpec,
    /// Where problems come from.
    pub task: &'a dyn Task,
    /// What the model may call.
    pub tools: Option<&'a Toolbox>,
}

/// What a round's rollouts came to.
pub struct Collected {
    /// A group of traces for each start: problems first, then replayed states.
    pub groups: Vec<Vec<Trace>>,
    /// The numbers of the problems.
    pub numbers: Vec<u64>,
}

/// Samples and scores the answers of a round.
///
/// # Errors
/// [`Error::Engine`](crate::Error::Engine) and [`Error::Env`](crate::Error::Env) for faults that concern all problems.
pub fn collect(
    setting: Setting<'_>,
    learner: &Learner,
    rewards: &mut Rewards,
    memory: &mut Memory,
    journal: Option<&mut Journal>,
    round: u64,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Collected> {
    let Setting { recipe, spec, task, tools } = setting;
    let replayed = memory.replay.draw(learner, recipe, spec, task, round)?;
    let count = spec.prompts - replayed.len();
    let numbers = match spec.curriculum.has_state() {
        true => memory.curriculum.next(&spec.curriculum, task, recipe.seed, round, count)?,
        false => numbers(recipe, task, round, count)?,
    };
    let problem = |&number: &u64| task.problem(Split::Train, recipe.seed, number);
    let roots = numbers.iter().map(problem).collect::<std::result::Result<Vec<Problem>, _>>()?;
    let starts: Vec<Start> = roots.into_iter().map(Start::from).chain(replayed).collect();
    let steps = spec.reward.process.as_ref().map(|process| &process.separator);
    let plan = Plan {
        split: Split::Train,
        seed: recipe.seed,
        step: round + 1,
        samples: spec.samples,
        sampling: spec.sampling.clone(),
        max_new_tokens: spec.max_new_tokens,
        stop: Vec::new(),
        step_separator: steps.or(spec.replay.as_ref().map(|replay| &replay.separator)).cloned(),
        purpose: Purpose::Tokens,
    };
    let name = format!("{}@step-{round}", learner.model.identity.name);
    let journal = RefCell::new(journal);
    let desk = tools.map(|toolbox| JournalledDesk { toolbox, journal: &journal, step: round + 1 });
    let player = Player {
        generator: learner.generator(spec.decode_batch),
        codec: &learner.model.codec,
        model: &name,
        tools: desk.as_ref().map(|desk| desk as &dyn Desk),
    };
    let mut groups = rollout(&player, task, &starts, &plan, observe)?;
    if let Some(process) = rewards.process() {
        let problems: Vec<Problem> = starts.into_iter().map(|start| start.problem).collect();
        process.judge(task, &problems, &mut groups, learner.model.codec.tokenizer())?;
    }
    rewards.judge(&mut groups)?;
    if let Some(efficiency) = &spec.reward.efficiency {
        groups.iter_mut().for_each(|group| efficiency.score(group, &mut memory.fewest));
    }
    score(rewards, &mut groups, journal.into_inner(), round + 1)?;
    for (&number, group) in numbers.iter().zip(&groups).filter(|_| spec.curriculum.has_state()) {
        let right = group.iter().filter(|trace| is_right(trace)).count() as u64;
        memory.curriculum.note(number, Tally { right, all: group.len() as u64 });
    }
    Ok(Collected { groups, numbers })
}

/// A desk that keeps what tools outside this process answered, so that a resumed run hears it again.
struct JournalledDesk<'a, 'j> {
    toolbox: &'a Toolbox,
    journal: &'a RefCell<Option<&'j mut Journal>>,
    step: u64,
}

impl Desk for JournalledDesk<'_, '_> {
    fn toolbox(&self) -> &Toolbox {
        self.toolbox
    }

    fn replies(&self, turn: usize, calls: &[Called]) -> lyceum_env::Result<Vec<Reply>> {
        match self.journal.borrow_mut().as_mut().filter(|_| self.toolbox.asks_outside()) {
            Some(journal) => {
                let ask = || Ok(self.toolbox.answers(calls));
                let kept = journal.once::<_, lyceum_run::Error>(self.step, &format!("tools.{turn}"), ask);
                kept.map_err(|error| lyceum_env::Error::Journal(error.into()))
            }
            None => self.toolbox.replies(turn, calls),
        }
    }
}

/// Trains on the groups of a round and returns what is logged of it.
///
/// # Errors
/// Those of [`update`].
pub fn learn(
    setting: Setting<'_>,
    learner: &mut Learner,
    memory: &mut Memory,
    collected: &Collected,
    round: u64,
) -> Result<Row> {
    let Setting { recipe, spec, task, .. } = setting;
    let traces = &collected.groups;
    let mut row = Row::new(round + 1);
    describe(traces, &mut row);
    signs(traces, spec.credit, &mut row);
    memory.spent.add(traces, &mut row);
    if spec.curriculum.has_state() {
        let (epoch, dropped) = memory.curriculum.progress();
        row.set("curriculum/epoch", epoch as f64);
        row.set("curriculum/dropped", dropped as f64);
    }
    memory.replay.remember(learner, recipe, spec, task, &collected.numbers, traces, round, &mut row)?;
    let waited;
    let ready: &[Vec<Trace>] = if spec.gather {
        let kept = traces.iter().filter(|group| group_of(group, spec).is_some());
        memory.gathered.extend(kept.cloned());
        if memory.gathered.len() < spec.prompts {
            row.set("rollout/groups-trained", 0.0);
            return Ok(row);
        }
        waited = std::mem::take(&mut memory.gathered);
        // What is left over would be of an older policy in the next update.
        &waited[..spec.prompts]
    } else {
        traces
    };
    let groups: Vec<Group> = ready.iter().filter_map(|group| group_of(group, spec)).collect();
    row.set("rollout/groups-trained", groups.len() as f64);
    if groups.is_empty() {
        return Ok(row);
    }
    let (policy, reference) = learner.with_reference();
    let report =
        update(policy, &reference, &groups, spec, &recipe.optimizer, round, recipe.optimizer_steps())?;
    log_update(&report, &mut row);
    Ok(row)
}

/// A group's samples that can be trained on; `None` when the filter drops the group or nothing is left to compare.
fn group_of(traces: &[Trace], spec: &PolicySpec) -> Option<Group> {
    let usable =
        |trace: &&Trace| trace.total.is_some() && !(spec.truncated == Truncated::Drop && trace.is_cut());
    let scored = traces.iter().filter(usable).filter_map(|trace| scored(trace, spec));
    let group: Group = scored.collect();
    let totals: Vec<f32> = group.iter().map(|sample| sample.rewards.iter().sum()).collect();
    let alone = group.len() < 2 && spec.advantage.needs_group();
    (!group.is_empty() && !alone && spec.filter.keeps(&totals)).then_some(group)
}

/// A trace's tokens with the reward on each: what its steps are paid, and the combined reward at the end.
fn scored(trace: &Trace, spec: &PolicySpec) -> Option<Scored> {
    let record = trace.policy_tokens()?;
    let sequence = Sequence::of_record(record);
    let process: Vec<f32> = trace.process.iter().map(|&score| score as f32).collect();
    let ends: Vec<usize> =
        record.steps.iter().map(|&end| sequence.trained.partition_point(|&at| at < end)).collect();
    let paid = spec.credit.transform(&process);
    let rewards = token_rewards(sequence.trained.len(), &ends, &paid, trace.total? as f32);
    Some(Scored { sequence, rewards, ends, cut: trace.is_cut() })
}

/// What the rollouts were like: rewards by component with the unscored counted, lengths, faults.
fn describe(traces: &[Vec<Trace>], row: &mut Row) {
    let all = || traces.iter().flatten();
    let count = all().count().max(1) as f64;
    let totals: Vec<Vec<f64>> =
        traces.iter().map(|group| group.iter().map(|t| t.total.unwrap_or(f64::NAN)).collect()).collect();
    row.set("reward/total", mean(totals.iter().flatten().copied().filter(|total| total.is_finite())));
    let names: std::collections::BTreeSet<&str> =
        all().flat_map(|trace| trace.rewards.keys().map(String::as_str)).collect();
    for name in names {
        let values: Vec<f64> = all().filter_map(|t| t.rewards.get(name)?.value()).collect();
        row.set(format!("reward/{name}"), mean(values.iter().copied()));
        let unscored = count - values.len() as f64;
        if unscored > 0.0 {
            row.set(format!("unscored/{name}"), unscored);
        }
    }
    let scored = |group: &[f64]| group.iter().filter(|x| !x.is_nan()).map(|&x| x as f32).collect::<Vec<_>>();
    let mixed = totals.iter().filter(|group| is_mixed(&scored(group))).count();
    row.set("rollout/mixed-groups", mixed as f64 / traces.len().max(1) as f64);
    // A group with at least one right answer: pass@k of the prompts that were drawn.
    let solved = traces.iter().filter(|group| group.iter().any(is_right)).count();
    row.set("rollout/solved-groups", solved as f64 / traces.len().max(1) as f64);
    row.set("rollout/tokens", all().map(|t| t.cost.generated_tokens as f64).sum::<f64>() / count);
    let truncated = all().filter(|trace| trace.is_cut()).count();
    row.set("rollout/truncated", truncated as f64 / count);
    for boundary in Boundary::ALL {
        let faults = all().flat_map(|t| &t.faults).filter(|fault| fault.boundary == boundary).count();
        if faults > 0 {
            row.set(format!("fault/{}", boundary.name()), faults as f64);
        }
    }
}

/// The mean of nothing is NaN, not 0.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

fn log_update(report: &UpdateReport, row: &mut Row) {
    let UpdateReport { objective, first, .. } = report;
    let per_token = |sum: f64| sum / objective.tokens.max(1) as f64;
    row.set("policy/loss", objective.loss / report.steps.max(1) as f64);
    row.set("policy/entropy", per_token(objective.entropy));
    row.set("policy/kl", per_token(objective.kl));
    row.set("policy/clipped", per_token(objective.clipped as f64));
    row.set("policy/ratio", per_token(objective.ratio));
    // Before the first step the trainer's weights are the generator's: what differs is arithmetic.
    row.set("policy/gap", first.gap / first.tokens.max(1) as f64);
    if let Some(weights) = report.weights {
        row.set("weights/mean", weights.mean);
        row.set("weights/clipped", weights.clipped);
        row.set("weights/effective", weights.effective);
    }
    if objective.value_error > 0.0 {
        row.set("critic/error", per_token(objective.value_error));
    }
    row.set("optimizer/gradient-norm", report.gradient_norm);
    row.set("optimizer/learning-rate", f64::from(report.learning_rate));
}

/// Scores all traces. What a program outside said goes through the journal, so that a resumed run hears it again.
fn score(
    rewards: &mut Rewards,
    groups: &mut [Vec<Trace>],
    journal: Option<&mut Journal>,
    step: u64,
) -> Result<()> {
    let answers: Vec<Answers> = match journal {
        Some(journal) if rewards.asks_outside() => {
            journal.once(step, "reward.command", || Ok::<_, lyceum_run::Error>(rewards.ask(groups)))?
        }
        _ => rewards.ask(groups),
    };
    rewards.apply(groups, &answers);
    Ok(())
}
