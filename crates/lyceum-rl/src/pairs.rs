//! Learning from preferences: a reward model (Bradley-Terry), or a policy without one (DPO, CPO).
//!
//! A loss is a pure function of one score for each answer of a pair. For a reward model the score is the value at the answer's
//! last token; for a policy it is the answer's log-probability.

use lyceum_env::exam::estimate;
use lyceum_env::{Problem, Split, Task};
use lyceum_nn::policy::{Batch, Policy, TokenGrads, TokenStats};
use lyceum_run::Row;
use lyceum_stats::Estimate;
use serde::{Deserialize, Serialize};

use crate::experience::{Sequence, common_prompt, pack};
use crate::learner::Learner;
use crate::recipe::{PairsSpec, Recipe};
use crate::round::problems;
use crate::{Error, Result};

/// What is learnt from a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PairLoss {
    /// A reward model: the better answer's value is to be larger (arXiv 2203.02155, eq. 1).
    #[default]
    BradleyTerry,
    /// A policy whose log-ratio to the reference is its reward (arXiv 2305.18290, eq. 7).
    Dpo {
        /// How far it may go from the reference: smaller is farther.
        #[serde(default = "tenth")]
        beta: f32,
    },
    /// The same without a reference, and with imitation of the better answer (arXiv 2401.08417, eq. 5).
    Cpo {
        /// As DPO's.
        #[serde(default = "tenth")]
        beta: f32,
        /// Weight of imitation: of the better answer's mean negative log-probability a token.
        #[serde(default = "one")]
        alpha: f32,
    },
}

fn tenth() -> f32 {
    0.1
}
fn one() -> f32 {
    1.0
}

/// -log sigmoid(margin), and its derivative.
///
/// ```
/// let (loss, slope) = lyceum_rl::pairs::logistic(0.0);
/// assert!((loss - 2f32.ln()).abs() < 1e-6 && (slope + 0.5).abs() < 1e-6);
/// ```
#[must_use]
pub fn logistic(margin: f32) -> (f32, f32) {
    // log(1 + exp(-x)) without overflow on either side.
    let loss = (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
    (loss, -1.0 / (1.0 + margin.exp()))
}

impl PairLoss {
    /// Whether the head's value is the score; else it is the answer's log-probability.
    #[must_use]
    pub const fn scores_by_value(self) -> bool {
        matches!(self, Self::BradleyTerry)
    }

    /// Whether log-probabilities under the reference are needed.
    #[must_use]
    pub const fn needs_reference(self) -> bool {
        matches!(self, Self::Dpo { .. })
    }

    /// How much better the chosen answer is held to be: `chosen` and `rejected` are the scores, those of the reference taken
    /// away where there is one.
    ///
    /// ```
    /// use lyceum_rl::pairs::PairLoss;
    /// assert_eq!(PairLoss::BradleyTerry.margin(2.0, 0.5), 1.5);
    /// assert_eq!(PairLoss::Dpo { beta: 0.5 }.margin(2.0, 0.0), 1.0);
    /// ```
    #[must_use]
    pub fn margin(self, chosen: f32, rejected: f32) -> f32 {
        match self {
            Self::BradleyTerry => chosen - rejected,
            Self::Dpo { beta } | Self::Cpo { beta, .. } => beta * (chosen - rejected),
        }
    }

    /// Loss of a pair and its derivatives by both scores, imitation aside.
    #[must_use]
    pub fn evaluate(self, chosen: f32, rejected: f32) -> (f32, f32, f32) {
        let (loss, slope) = logistic(self.margin(chosen, rejected));
        let scale = self.margin(1.0, 0.0);
        (loss, slope * scale, -slope * scale)
    }

    /// Weight of the better answer's mean negative log-probability a token.
    #[must_use]
    pub const fn imitation(self) -> f32 {
        match self {
            Self::Cpo { alpha, .. } => alpha,
            Self::BradleyTerry | Self::Dpo { .. } => 0.0,
        }
    }

    /// Checks what the types can't.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(self) -> Result<()> {
        let beta = match self {
            Self::BradleyTerry => 1.0,
            Self::Dpo { beta } | Self::Cpo { beta, .. } => beta,
        };
        let fine = beta > 0.0 && beta.is_finite() && self.imitation() >= 0.0 && self.imitation().is_finite();
        if fine {
            Ok(())
        } else {
            Err(Error::Config("pairs.loss: beta must be positive, alpha not negative".into()))
        }
    }
}

/// Both answers to a problem as the model reads them, the better one first.
type Pair = [Sequence; 2];

/// One round: a batch of pairs, one optimiser step. Returns what is logged of it.
///
/// # Errors
/// [`Error::Data`] for a task without preferences; [`Error::Numeric`] when the loss is not finite (the weights are unchanged).
pub fn round(
    learner: &mut Learner,
    recipe: &Recipe,
    spec: &PairsSpec,
    task: &dyn Task,
    round: u64,
) -> Result<Row> {
    let problems = problems(recipe, task, round, spec.batch)?;
    let pairs: Vec<Pair> =
        problems.iter().map(|problem| pair(learner, spec, task, problem)).collect::<Result<_>>()?;
    let references = references(learner, spec, &pairs)?;
    let weight = 1.0 / pairs.len().max(1) as f32;
    let policy = &mut learner.model.policy;
    policy.zero_grad();
    let (mut loss, mut right, mut margins) = (0.0, 0.0, 0.0);
    for (from, to) in chunks(&pairs, spec.micro_tokens) {
        let stats = policy.logprobs(&batch(&pairs[from..to])?)?;
        let mut grads = TokenGrads::default();
        let mut at = 0;
        for (pair, reference) in pairs[from..to].iter().zip(&references[from..to]) {
            let own: Vec<TokenStats> = pair.iter().map(|answer| take(&stats, &mut at, answer)).collect();
            let score = |side: usize| score(spec.loss, &own[side]) - reference[side];
            let (own_loss, by_chosen, by_rejected) = spec.loss.evaluate(score(0), score(1));
            let margin = spec.loss.margin(score(0), score(1));
            let length = pair[0].trained.len().max(1) as f32;
            let imitation = spec.loss.imitation() / length;
            let surprise: f32 = -own[0].logp.iter().sum::<f32>();
            loss += f64::from((own_loss + imitation * surprise) * weight);
            right += f64::from(u8::from(margin > 0.0));
            margins += f64::from(margin);
            let slopes = [by_chosen, by_rejected].map(|slope| slope * weight);
            if spec.loss.scores_by_value() {
                grads.value.extend(slopes);
            } else {
                let each = [slopes[0] - imitation * weight, slopes[1]];
                pair.iter().zip(each).for_each(|(answer, slope)| {
                    grads.logp.extend(std::iter::repeat_n(slope, answer.trained.len()));
                });
            }
        }
        policy.backward(&grads)?;
    }
    if !loss.is_finite() {
        let cause = "the loss is not finite; lower optimizer.learning_rate";
        return Err(Error::Numeric { step: round, cause: cause.into() });
    }
    let rate = recipe.optimizer.rate(round, recipe.optimizer_steps());
    let info = policy.step(&recipe.optimizer.adamw(), rate, recipe.optimizer.clip())?;
    let count = pairs.len().max(1) as f64;
    let mut row = Row::new(round + 1);
    row.set("pairs/loss", loss);
    row.set("pairs/accuracy", right / count);
    row.set("pairs/margin", margins / count);
    row.set("optimizer/gradient-norm", info.gradient_norm);
    row.set("optimizer/learning-rate", f64::from(rate));
    Ok(row)
}

/// The measure by which checkpoints are compared: the share of pairs whose better answer is held to be better.
pub const PAIR_ACCURACY: &str = "pair-accuracy";

/// How often the better answer is held to be better, on the first `limit` problems of a split; and how often it is the longer
/// one, which is what a model that looks at nothing else would reach.
///
/// # Errors
/// [`Error::Data`] for a task without preferences.
pub fn evaluate(
    learner: &Learner,
    recipe: &Recipe,
    spec: &PairsSpec,
    task: &dyn Task,
    split: Split,
) -> Result<std::collections::BTreeMap<String, Estimate>> {
    let count = task.count(split)?.unwrap_or(u64::MAX).min(recipe.eval.limit as u64);
    let pairs: Vec<Pair> = (0..count)
        .map(|index| pair(learner, spec, task, &task.problem(split, recipe.seed, index)?))
        .collect::<Result<_>>()?;
    let references = references(learner, spec, &pairs)?;
    let mut margins = Vec::with_capacity(pairs.len());
    for (from, to) in chunks(&pairs, spec.micro_tokens) {
        let stats = learner.model.policy.evaluate(&batch(&pairs[from..to])?)?;
        let mut at = 0;
        for (pair, reference) in pairs[from..to].iter().zip(&references[from..to]) {
            let [chosen, rejected] =
                [0, 1].map(|side| score(spec.loss, &take(&stats, &mut at, &pair[side])) - reference[side]);
            margins.push(spec.loss.margin(chosen, rejected));
        }
    }
    let holds = |holds: bool| vec![f64::from(u8::from(holds))];
    let right: Vec<Vec<f64>> = margins.iter().map(|&margin| holds(margin > 0.0)).collect();
    let longer = |pair: &Pair| holds(pair[0].ids.len() > pair[1].ids.len());
    let longer: Vec<Vec<f64>> = pairs.iter().map(longer).collect();
    Ok([(PAIR_ACCURACY, estimate(&right)), ("chosen-is-longer", estimate(&longer))]
        .map(|(name, value)| (name.to_owned(), value))
        .into())
}

fn pair(learner: &Learner, spec: &PairsSpec, task: &dyn Task, problem: &Problem) -> Result<Pair> {
    let preference = task.preference(problem).ok_or_else(|| {
        Error::Data(format!("problem {} has no preference; [pairs] needs a task that has", problem.id))
    })?;
    let read = |answer: &str| {
        let whole = learner.model.codec.demonstration(&problem.conversation(), answer)?;
        let mut sequence = Sequence::demonstration(whole.ids, whole.trained);
        if spec.loss.scores_by_value() {
            // The value before a token that comes after the answer is the value of the whole answer.
            sequence.ids.truncate(sequence.trained.last().map_or(0, |&last| last as usize + 1));
            let end = sequence.ids.len() as u32;
            sequence.ids.extend(learner.model.codec.stop_tokens().first());
            sequence.trained = vec![end.min(sequence.ids.len() as u32 - 1)];
        }
        Ok::<_, Error>(sequence)
    };
    Ok([read(&preference.chosen)?, read(&preference.rejected)?])
}

/// What is taken away from the scores: log-probabilities under the reference, or nothing.
fn references(learner: &Learner, spec: &PairsSpec, pairs: &[Pair]) -> Result<Vec<[f32; 2]>> {
    if !spec.loss.needs_reference() {
        return Ok(vec![[0.0; 2]; pairs.len()]);
    }
    let mut found = Vec::with_capacity(pairs.len());
    for (from, to) in chunks(pairs, spec.micro_tokens) {
        let stats = learner.reference_logprobs(&batch(&pairs[from..to])?)?;
        let mut at = 0;
        for pair in &pairs[from..to] {
            found.push([0, 1].map(|side| score(spec.loss, &take(&stats, &mut at, &pair[side]))));
        }
    }
    Ok(found)
}

fn score(loss: PairLoss, stats: &TokenStats) -> f32 {
    if loss.scores_by_value() { stats.value.iter().sum() } else { stats.logp.iter().sum() }
}

/// The statistics of the next answer, which begin at `at`.
fn take(stats: &TokenStats, at: &mut usize, answer: &Sequence) -> TokenStats {
    let own = *at..*at + answer.trained.len();
    *at = own.end;
    let part = |values: &[f32]| values.get(own.clone()).unwrap_or_default().to_vec();
    TokenStats { logp: part(&stats.logp), entropy: Vec::new(), value: part(&stats.value) }
}

fn batch(pairs: &[Pair]) -> Result<Batch> {
    pack(&pairs.iter().map(|pair| pair.iter().collect()).collect::<Vec<_>>(), 1.0)
}

/// Stretches of pairs of at most `budget` rows each; a pair is never parted.
fn chunks(pairs: &[Pair], budget: usize) -> Vec<(usize, usize)> {
    let rows = |pair: &Pair| {
        let shared = common_prompt(&[&pair[0], &pair[1]]);
        pair.iter().map(|answer| answer.rows().saturating_sub(shared)).sum::<usize>() + shared
    };
    let (mut found, mut from, mut sum) = (Vec::new(), 0, 0);
    for (at, pair) in pairs.iter().enumerate() {
        let own = rows(pair);
        if at > from && sum + own > budget {
            found.push((from, at));
            (from, sum) = (at, 0);
        }
        sum += own;
    }
    if from < pairs.len() {
        found.push((from, pairs.len()));
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOSSES: [PairLoss; 3] =
        [PairLoss::BradleyTerry, PairLoss::Dpo { beta: 0.3 }, PairLoss::Cpo { beta: 0.3, alpha: 1.0 }];

    #[test]
    fn by_worked_examples() {
        let (loss, by_chosen, by_rejected) = PairLoss::Dpo { beta: 0.1 }.evaluate(-10.0, -20.0);
        assert!((loss - 0.313_26).abs() < 1e-4 && (by_chosen + 0.026_894).abs() < 1e-5);
        assert_eq!(by_chosen, -by_rejected);
        for (margin, loss) in [(100.0, 0.0), (-100.0, 100.0)] {
            assert!((logistic(margin).0 - loss).abs() < 1e-4 && logistic(margin).1.is_finite());
        }
    }

    proptest! {
        #[test]
        fn slopes_are_those_of_the_loss(chosen in -4f32..4.0, rejected in -4f32..4.0) {
            let h = 1e-2;
            for loss in LOSSES {
                let at = |c: f32, r: f32| loss.evaluate(c, r).0;
                let (_, by_chosen, by_rejected) = loss.evaluate(chosen, rejected);
                let first = (at(chosen + h, rejected) - at(chosen - h, rejected)) / (2.0 * h);
                let second = (at(chosen, rejected + h) - at(chosen, rejected - h)) / (2.0 * h);
                prop_assert!((first - by_chosen).abs() < 1e-3 && (second - by_rejected).abs() < 1e-3);
            }
        }

        #[test]
        fn chunks_hold_every_pair_once(lengths in prop::collection::vec((1usize..20, 1usize..20), 1..10), budget in 5usize..60) {
            let answer = |n: usize| Sequence::demonstration((0..=n as u32).collect(), (1..=n as u32).collect());
            let pairs: Vec<Pair> = lengths.iter().map(|&(a, b)| [answer(a), answer(b)]).collect();
            let mut next = 0;
            for (from, to) in chunks(&pairs, budget) {
                prop_assert!(from == next && to > from);
                next = to;
            }
            prop_assert_eq!(next, pairs.len());
        }
    }
}
