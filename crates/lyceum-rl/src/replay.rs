//! Retrospective replay (RRL, arXiv 2504.14363): promising states of earlier rollouts, kept and begun from again when the
//! policy may be able to finish them. The paper gives the mechanism and no constants; every default here is ours.

use std::collections::BTreeMap;

use lyceum_env::rollout::Start;
use lyceum_env::{Problem, Split, Task};
use lyceum_run::Row;
use lyceum_stats::{Draw, Purpose};
use lyceum_trace::{Score, Trace};
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::experience::Sequence;
use crate::learner::Learner;
use crate::recipe::{PolicySpec, Recipe};
use crate::update::values;
use crate::{Error, Result};

/// The recipe's table `policy.replay`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplaySpec {
    /// How states are chosen.
    pub choice: Choice,
    /// Share of a round's prompts that begin at stored states once replay is in full force. It is scaled by the share of
    /// problems that are still hard.
    pub share: f64,
    /// Shares of the run at which replay begins and is in full force.
    pub ramp: [f64; 2],
    /// Problems whose pass rate is at most this are hard: states are stored for them.
    pub hard: f64,
    /// Problems whose pass rate is above this are no longer replayed.
    pub solved: f64,
    /// A state must be worth so much more than its problem's beginning.
    pub gain: f32,
    /// A state lies between these shares of its answer.
    pub span: [f64; 2],
    /// States kept for a problem.
    pub capacity: usize,
    /// Rounds before states are stored: an early critic misleads.
    pub warmup: u64,
    /// States are drawn by softmax of their worth over this.
    pub temperature: f32,
    /// What a state's worth loses with every round since it was stored.
    pub ageing: f32,
    /// Beginnings of the task's own solutions are states too. They show the policy what it would not have reached.
    pub canonical: bool,
    /// States lie after this: what ends a step.
    pub separator: String,
}

/// How states are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// By the critic's value, looked up again when a state is drawn.
    #[default]
    Critic,
    /// At random: the control.
    Random,
    /// At random first, then by how often answers from there were right: without a critic.
    PassRate,
}

impl Default for ReplaySpec {
    fn default() -> Self {
        Self {
            choice: Choice::default(),
            share: 0.3,
            ramp: [0.2, 0.4],
            hard: 0.25,
            solved: 0.75,
            gain: 0.1,
            span: [0.2, 0.8],
            capacity: 4,
            warmup: 20,
            temperature: 0.1,
            ageing: 0.0,
            canonical: false,
            separator: "\n".into(),
        }
    }
}

impl ReplaySpec {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self, policy: &PolicySpec) -> Result<()> {
        let refuse = |message: &str| Err(Error::Config(format!("policy.replay.{message}")));
        let unit = 0.0..=1.0;
        if ![self.share, self.ramp[0], self.ramp[1], self.hard, self.solved].iter().all(|x| unit.contains(x))
        {
            return refuse("share, ramp, hard and solved must be shares between 0 and 1");
        }
        if !(self.span[0] >= 0.0 && self.span[0] <= self.span[1] && self.span[1] < 1.0) {
            return refuse(
                "span must be two shares, rising, below 1: an answer's end is no state to go on from",
            );
        }
        if self.capacity == 0 || self.separator.is_empty() {
            return refuse("capacity and separator must not be empty");
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return refuse("temperature must be positive");
        }
        if self.choice == Choice::Critic && !policy.advantage.needs_critic() {
            return refuse(
                "choice = \"critic\" needs a critic: policy.advantage.kind = \"gae\", or another choice",
            );
        }
        Ok(())
    }

    /// Share of the prompts of round `round` of `rounds` that are replayed when `hard` of the problems are hard.
    ///
    /// ```
    /// use lyceum_rl::replay::ReplaySpec;
    /// let spec = ReplaySpec::default();
    /// let shares = [0, 20, 30, 40, 99].map(|round| (100.0 * spec.share_at(round, 100, 1.0)).round());
    /// assert_eq!(shares, [0.0, 0.0, 15.0, 30.0, 30.0]);
    /// assert_eq!(spec.share_at(99, 100, 0.5), 0.15);
    /// ```
    #[must_use]
    pub fn share_at(&self, round: u64, rounds: u64, hard: f64) -> f64 {
        let progress = round as f64 / rounds.max(1) as f64;
        let [begin, full] = self.ramp;
        let force = if progress >= full { 1.0 } else { (progress - begin).max(0.0) / (full - begin) };
        self.share * force * hard
    }

    /// Ends of steps of an answer of `len` tokens at which a state may lie.
    fn boundaries(&self, ends: impl Iterator<Item = usize>, len: usize) -> Vec<usize> {
        let share = |end: usize| end as f64 / len.max(1) as f64;
        ends.filter(|&end| end < len && (self.span[0]..=self.span[1]).contains(&share(end))).collect()
    }
}

/// A state to begin from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Tokens of the answer so far.
    prefix: Vec<u32>,
    /// What it was worth when it was last looked at.
    worth: f32,
    /// The round that it was stored in.
    stored: u64,
}

/// The states of a run, by problem; part of every checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    states: BTreeMap<u64, Vec<State>>,
    /// Pass rate of problems from their beginning, a running mean.
    rates: BTreeMap<u64, f64>,
    /// The states that this round's last groups begin at, and what they were taken to be worth.
    #[serde(skip)]
    playing: Vec<(u64, State)>,
}

impl Replay {
    /// Chooses the states that a round begins at, at most one a problem.
    ///
    /// # Errors
    /// Faults of the model, where a critic is asked.
    pub fn draw(
        &mut self,
        learner: &Learner,
        recipe: &Recipe,
        spec: &PolicySpec,
        task: &dyn Task,
        round: u64,
    ) -> Result<Vec<Start>> {
        self.playing.clear();
        let Some(replay) = &spec.replay else { return Ok(Vec::new()) };
        let hard = self.rates.values().filter(|&&rate| rate <= replay.hard).count();
        let hard = hard as f64 / self.rates.len().max(1) as f64;
        let wanted = (replay.share_at(round, recipe.rounds(), hard) * spec.prompts as f64).round() as usize;
        let mut random =
            Draw { seed: recipe.seed, step: round + 1, prompt: 1, sample: 0 }.rng(Purpose::Sampler);
        let solved = |number: &u64| self.rates.get(number).is_some_and(|&rate| rate > replay.solved);
        self.states.retain(|number, states| !states.is_empty() && !solved(number));
        let mut numbers: Vec<u64> = self.states.keys().copied().collect();
        numbers.shuffle(&mut random);
        let mut starts = Vec::new();
        for number in numbers {
            if starts.len() == wanted {
                break;
            }
            let problem = task.problem(Split::Train, recipe.seed, number)?;
            if replay.choice == Choice::Critic {
                self.look_again(learner, spec, number, &problem)?;
            }
            let states = self.states.get(&number).map(Vec::as_slice).unwrap_or_default();
            let log_weight = |state: &State| {
                let age = round.saturating_sub(state.stored) as f32;
                (state.worth - replay.ageing * age) / replay.temperature
            };
            let Some(chosen) = softmax_choice(states.iter().map(log_weight), random.random()) else {
                continue;
            };
            let state = states[chosen].clone();
            starts.push(Start { problem, prefix: state.prefix.clone() });
            self.playing.push((number, state));
        }
        Ok(starts)
    }

    /// Asks the critic again what a problem's states are worth, and drops those that are not worth more than its beginning.
    fn look_again(
        &mut self,
        learner: &Learner,
        spec: &PolicySpec,
        number: u64,
        problem: &Problem,
    ) -> Result<()> {
        let Some(states) = self.states.get_mut(&number) else { return Ok(()) };
        let prompt = learner.model.codec.prompt(&problem.conversation())?;
        // The value before a token does not depend on the token: any will do after a state.
        let after = |state: &State| {
            let ids = [prompt.as_slice(), &state.prefix, &prompt[..1]].concat();
            let trained = vec![prompt.len() as u32, ids.len() as u32 - 1];
            Sequence::demonstration(ids, trained)
        };
        let sequences: Vec<Sequence> = states.iter().map(after).collect();
        let found = values(&learner.model.policy, &sequences.iter().collect::<Vec<_>>(), spec)?;
        let mut worth = found.into_iter();
        states.retain_mut(|state| match worth.next().as_deref() {
            Some(&[first, here]) => {
                state.worth = here;
                here > first
            }
            _ => false,
        });
        Ok(())
    }

    /// Learns from a round's groups: those of `numbers` began at their problems, the rest at the states that were drawn.
    ///
    /// # Errors
    /// Faults of the model, where a critic is asked.
    pub fn remember(
        &mut self,
        learner: &Learner,
        recipe: &Recipe,
        spec: &PolicySpec,
        task: &dyn Task,
        numbers: &[u64],
        groups: &[Vec<Trace>],
        round: u64,
        row: &mut Row,
    ) -> Result<()> {
        let Some(replay) = &spec.replay else { return Ok(()) };
        let (roots, replayed) = groups.split_at(numbers.len().min(groups.len()));
        self.note_replayed(replay.choice, replayed, row);
        let mut random =
            Draw { seed: recipe.seed, step: round + 1, prompt: 2, sample: 0 }.rng(Purpose::Sampler);
        for (&number, group) in numbers.iter().zip(roots) {
            let rate = pass_rate(group);
            let known = self.rates.entry(number).or_insert(rate);
            *known = f64::midpoint(*known, rate);
            if rate > replay.hard || round < replay.warmup {
                continue;
            }
            let mut candidates: Vec<Candidate> = group
                .iter()
                .filter(|trace| !is_right(trace))
                .filter_map(|trace| Candidate::of_trace(trace, replay))
                .collect();
            if replay.canonical {
                let problem = task.problem(Split::Train, recipe.seed, number)?;
                candidates.extend(Candidate::canonical(learner, &problem, replay)?);
            }
            let found = match replay.choice {
                Choice::Critic => worthiest(learner, spec, replay, &candidates)?,
                Choice::Random | Choice::PassRate => candidates
                    .iter()
                    .map(|candidate| {
                        let at = random.random_range(0..candidate.boundaries.len());
                        (candidate.prefix(candidate.boundaries[at]), EVEN)
                    })
                    .collect(),
            };
            let states = self.states.entry(number).or_default();
            for (prefix, worth) in found {
                if states.iter().all(|state| state.prefix != prefix) {
                    states.push(State { prefix, worth, stored: round });
                }
            }
            // The best stay; among equals, the newest.
            states.sort_by(|a, b| b.worth.total_cmp(&a.worth).then(b.stored.cmp(&a.stored)));
            states.truncate(replay.capacity);
        }
        row.set("replay/stored", self.states.values().map(Vec::len).sum::<usize>() as f64);
        let hard = self.rates.values().filter(|&&rate| rate <= replay.hard).count();
        row.set("replay/hard", hard as f64 / self.rates.len().max(1) as f64);
        row.set("replay/groups", replayed.len() as f64);
        Ok(())
    }

    /// Logs how the replayed states ended, and how well their worth had said so.
    fn note_replayed(&mut self, choice: Choice, groups: &[Vec<Trace>], row: &mut Row) {
        let playing = std::mem::take(&mut self.playing);
        let (mut right, mut error, mut count) = (0.0, 0.0, 0.0);
        for ((number, state), group) in playing.iter().zip(groups) {
            let rate = pass_rate(group);
            right += rate;
            // Brier's score of the worth as a forecast of each answer.
            error += group.iter().map(|t| (f64::from(state.worth) - holds(is_right(t))).powi(2)).sum::<f64>()
                / group.len().max(1) as f64;
            count += 1.0;
            let states = self.states.get_mut(number).into_iter().flatten();
            for known in states.filter(|known| choice == Choice::PassRate && known.prefix == state.prefix) {
                known.worth = rate as f32;
            }
        }
        if count > 0.0 {
            row.set("replay/right", right / count);
            row.set("replay/brier", error / count);
        }
    }
}

/// The worth of a state that nobody has looked at.
const EVEN: f32 = 0.5;

/// An answer with the places where a state may lie.
struct Candidate {
    sequence: Sequence,
    /// Tokens before the answer.
    prompt: usize,
    /// Ends of steps, counted from the answer's first token; never empty.
    boundaries: Vec<usize>,
}

impl Candidate {
    fn of_trace(trace: &Trace, spec: &ReplaySpec) -> Option<Self> {
        let record = trace.policy_tokens()?;
        let sequence = Sequence::of_record(record);
        let prompt = *sequence.trained.first()? as usize;
        let len = sequence.ids.len() - prompt;
        let ends = record.steps.iter().filter_map(|&end| (end as usize).checked_sub(prompt));
        let boundaries = spec.boundaries(ends, len);
        (!boundaries.is_empty()).then_some(Self { sequence, prompt, boundaries })
    }

    fn canonical(learner: &Learner, problem: &Problem, spec: &ReplaySpec) -> Result<Option<Self>> {
        let Some(solution) = &problem.demonstration else { return Ok(None) };
        let codec = &learner.model.codec;
        let whole = codec.demonstration(&problem.conversation(), solution)?;
        let sequence = Sequence::demonstration(whole.ids, whole.trained);
        let Some(&prompt) = sequence.trained.first() else { return Ok(None) };
        let prompt = prompt as usize;
        let answer = &sequence.ids[prompt..];
        let ends = lyceum_engine::step_ends(codec.tokenizer(), answer, &spec.separator)?;
        let boundaries = spec.boundaries(ends.into_iter(), answer.len());
        Ok((!boundaries.is_empty()).then_some(Self { sequence, prompt, boundaries }))
    }

    fn prefix(&self, boundary: usize) -> Vec<u32> {
        self.sequence.ids[self.prompt..self.prompt + boundary].to_vec()
    }
}

/// The place of each candidate that the critic thinks most of, if it thinks enough of it.
fn worthiest(
    learner: &Learner,
    spec: &PolicySpec,
    replay: &ReplaySpec,
    candidates: &[Candidate],
) -> Result<Vec<(Vec<u32>, f32)>> {
    let sequences: Vec<&Sequence> = candidates.iter().map(|candidate| &candidate.sequence).collect();
    let found = values(&learner.model.policy, &sequences, spec)?;
    let best = |(candidate, values): (&Candidate, Vec<f32>)| {
        let first = *values.first()?;
        // Only where the next token was sampled is there a value before it.
        let at = |&boundary: &usize| {
            let position = (candidate.prompt + boundary) as u32;
            let index = candidate.sequence.trained.binary_search(&position).ok()?;
            Some((boundary, *values.get(index)?))
        };
        let (boundary, worth) =
            candidate.boundaries.iter().filter_map(at).max_by(|a, b| a.1.total_cmp(&b.1))?;
        (worth - first > replay.gain).then(|| (candidate.prefix(boundary), worth))
    };
    Ok(candidates.iter().zip(found).filter_map(best).collect())
}

/// Which of some alternatives a uniform number chooses, by softmax of their log-weights.
///
/// ```
/// use lyceum_rl::replay::softmax_choice;
/// let choice = |at| softmax_choice([0.0, 3f32.ln()].into_iter(), at);
/// assert_eq!((choice(0.2), choice(0.3), choice(0.999)), (Some(0), Some(1), Some(1)));
/// assert_eq!(softmax_choice(std::iter::empty(), 0.5), None);
/// ```
#[must_use]
pub fn softmax_choice(log_weights: impl Iterator<Item = f32>, uniform: f64) -> Option<usize> {
    let logs: Vec<f64> = log_weights.map(f64::from).collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
    let mut left = uniform * weights.iter().sum::<f64>();
    let chosen = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    chosen.or(weights.len().checked_sub(1))
}

/// Whether a trace's final answer is right.
pub(crate) fn is_right(trace: &Trace) -> bool {
    trace.rewards.get("correct").and_then(Score::value) == Some(1.0)
}

fn pass_rate(group: &[Trace]) -> f64 {
    group.iter().map(|trace| holds(is_right(trace))).sum::<f64>() / group.len().max(1) as f64
}

fn holds(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_lie_inside_answers() {
        let spec = ReplaySpec::default();
        assert_eq!(spec.boundaries([1, 2, 5, 8, 9, 10].into_iter(), 10), [2, 5, 8]);
        assert_eq!(spec.boundaries([1].into_iter(), 1), Vec::<usize>::new());
    }

    #[test]
    fn what_can_not_work_is_refused() {
        let policy = |replay: serde_json::Value| -> PolicySpec {
            serde_json::from_value(serde_json::json!({"replay": replay})).unwrap()
        };
        let refusal = |replay: serde_json::Value| {
            let policy = policy(replay);
            policy.replay.as_ref().unwrap().validate(&policy).unwrap_err().to_string()
        };
        assert!(refusal(serde_json::json!({})).contains("gae"));
        assert!(refusal(serde_json::json!({"choice": "random", "span": [0.2, 1.0]})).contains("span"));
        assert!(refusal(serde_json::json!({"choice": "random", "share": 1.5})).contains("share"));
        let fine = policy(serde_json::json!({"choice": "pass-rate"}));
        assert!(fine.replay.as_ref().unwrap().validate(&fine).is_ok());
    }
}
