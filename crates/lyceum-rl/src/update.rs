//! From groups of scored sequences to optimiser steps: the part of reinforcement learning that needs a gradient.

use lyceum_nn::policy::{Batch, Policy, TokenGrads, TokenStats};

use crate::advantage::{Advantages, SampleRewards};
use crate::credit::penalise_kl;
use crate::denominator::token_weights;
use crate::experience::{Sequence, micro_batches, pack};
use crate::objective::{ObjectiveStats, SampleTokens};
use crate::recipe::{OptimizerSpec, PolicySpec, Truncated};
use crate::weights::WeightStats;
use crate::{Error, Result};

/// A sampled sequence and the reward at each of its trained tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The tokens.
    pub sequence: Sequence,
    /// One reward a trained token.
    pub rewards: Vec<f32>,
    /// Ends of its steps among the trained tokens, as [`SampleRewards::ends`].
    pub ends: Vec<usize>,
    /// Whether it was cut off at the limit of tokens.
    pub cut: bool,
}

/// Samples of one prompt, to be compared with each other.
pub type Group = Vec<Scored>;

/// What a round of updates did, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UpdateReport {
    /// Sums over all tokens of all passes.
    pub objective: ObjectiveStats,
    /// The same for the first optimiser step only, when policy and generator still have the same weights: its gap
    /// is what the two disagree on.
    pub first: ObjectiveStats,
    /// Optimiser steps taken.
    pub steps: u64,
    /// Mean of their gradient norms before clipping.
    pub gradient_norm: f64,
    /// The last step's learning rate.
    pub learning_rate: f32,
    /// The weights of the samples, where advantages are weights.
    pub weights: Option<WeightStats>,
}

/// What is known of a sequence before the update: one entry a trained token, empty where it is not needed.
#[derive(Clone, Debug, Default)]
struct Before {
    logp: Vec<f32>,
    value: Vec<f32>,
    reference: Vec<f32>,
}

/// A sequence with all that the objective needs.
struct Prepared<'a> {
    sequence: &'a Sequence,
    before: Before,
    targets: Advantages,
}

/// Log-probabilities under the reference model: the policy with its adapter off, or another model.
pub type Reference<'a, P> = dyn Fn(&P, &Batch) -> lyceum_nn::Result<TokenStats> + 'a;

/// One round: advantages from the rewards, then `epochs` passes of `minibatches` optimiser steps.
///
/// `round` counts from 0; `total` is the number of optimiser steps of the whole run, for the schedule. The gradient of a step does
/// not depend on how it is cut into micro-batches.
///
/// # Errors
/// [`Error::Numeric`] when the loss is not finite (the weights are then those of the last good step); faults of the
/// model.
pub fn update<P: Policy>(
    policy: &mut P,
    reference: &Reference<'_, P>,
    groups: &[Group],
    spec: &PolicySpec,
    optimizer: &OptimizerSpec,
    round: u64,
    total: u64,
) -> Result<UpdateReport> {
    let prepared = prepare(policy, reference, groups, spec)?;
    let mut report = UpdateReport { weights: weight_stats(&prepared, spec), ..UpdateReport::default() };
    let minibatches = spec.minibatches.min(prepared.len()).max(1);
    for epoch in 0..spec.epochs {
        for minibatch in 0..minibatches {
            let part: Vec<&Vec<Prepared<'_>>> =
                prepared.iter().skip(minibatch).step_by(minibatches).collect();
            policy.zero_grad();
            let stats = accumulate(policy, &part, spec)?;
            if stats.tokens == 0 {
                continue;
            }
            if !stats.loss.is_finite() {
                let cause = "the loss is not finite; lower optimizer.learning_rate or look at the rewards";
                return Err(Error::Numeric { step: round, cause: cause.into() });
            }
            let done = round
                .saturating_mul(spec.steps_of_a_round())
                .saturating_add((epoch * minibatches + minibatch) as u64);
            report.learning_rate = optimizer.rate(done, total);
            let step = policy.step(&optimizer.adamw(), report.learning_rate, optimizer.clip())?;
            report.gradient_norm += step.gradient_norm;
            report.steps += 1;
            if report.steps == 1 {
                report.first = stats;
            }
            report.objective += stats;
        }
    }
    report.gradient_norm /= report.steps.max(1) as f64;
    Ok(report)
}

/// Looks up what the objective compares with (old log-probabilities and values, the reference) and takes advantages.
fn prepare<'a, P: Policy>(
    policy: &P,
    reference: &Reference<'_, P>,
    groups: &'a [Group],
    spec: &PolicySpec,
) -> Result<Vec<Vec<Prepared<'a>>>> {
    let sequences: Vec<Vec<&Sequence>> =
        groups.iter().map(|g| g.iter().map(|s| &s.sequence).collect()).collect();
    let mut before: Vec<Vec<Before>> = groups.iter().map(|g| vec![Before::default(); g.len()]).collect();
    let values = spec.advantage.needs_critic();
    // With one update a round the behaviour log-probabilities are the current ones: no second forward.
    if values || spec.objective.importance_cap.is_some() {
        look_up(
            &sequences,
            spec,
            |batch| policy.evaluate(batch),
            |g, s, stats| {
                before[g][s].logp = stats.logp;
                before[g][s].value = stats.value;
            },
        )?;
    }
    if spec.needs_reference() {
        look_up(
            &sequences,
            spec,
            |batch| reference(policy, batch),
            |g, s, stats| {
                before[g][s].reference = stats.logp;
            },
        )?;
    }
    let rewards: Vec<Vec<Vec<f32>>> = groups
        .iter()
        .zip(&before)
        .map(|(group, before)| {
            let penalised = |(sample, before): (&Scored, &Before)| {
                let mut rewards = sample.rewards.clone();
                penalise_kl(&mut rewards, spec.objective.kl, &sample.sequence.behaviour, &before.reference);
                rewards
            };
            group.iter().zip(before).map(penalised).collect()
        })
        .collect();
    let samples: Vec<Vec<SampleRewards<'_>>> = rewards
        .iter()
        .zip(&before)
        .zip(groups)
        .map(|((rewards, before), group)| {
            let members = rewards.iter().zip(before).zip(group);
            members
                .map(|((rewards, b), s)| {
                    // The policy that sampled is the one at hand: its log-probabilities are the behaviour's.
                    let log_ratio = b.reference.iter().zip(&s.sequence.behaviour).map(|(r, p)| r - p).sum();
                    SampleRewards { rewards, ends: &s.ends, values: &b.value, log_ratio }
                })
                .collect()
        })
        .collect();
    let mut advantages = spec.advantage.estimate(&samples, spec.max_new_tokens);
    drop(samples);
    if spec.truncated == Truncated::Silence {
        silence(groups, &mut advantages);
    }
    let zipped = sequences.into_iter().zip(before).zip(advantages);
    Ok(zipped
        .map(|((sequences, before), advantages)| {
            let members = sequences.into_iter().zip(before).zip(advantages);
            members.map(|((sequence, before), targets)| Prepared { sequence, before, targets }).collect()
        })
        .collect())
}

/// Samples that were cut off stay in their group's mean and get advantage 0 (SRPO, arXiv 2504.14286).
fn silence(groups: &[Group], advantages: &mut [Vec<Advantages>]) {
    for (sample, own) in groups.iter().flatten().zip(advantages.iter_mut().flatten()) {
        if sample.cut {
            own.advantages.fill(0.0);
        }
    }
}

/// What the weights of the samples are like, where advantages are weights: every token of a sample has the same.
fn weight_stats(prepared: &[Vec<Prepared<'_>>], spec: &PolicySpec) -> Option<WeightStats> {
    let clip = spec.advantage.weight_clip()?;
    let first = |sample: &Prepared<'_>| sample.targets.advantages.first().copied();
    let weights: Vec<f32> = prepared.iter().flatten().filter_map(first).collect();
    Some(WeightStats::of(&weights, clip))
}

/// The critic's value before each trained token of the sequences.
///
/// # Errors
/// Faults of the model.
pub fn values<P: Policy>(policy: &P, sequences: &[&Sequence], spec: &PolicySpec) -> Result<Vec<Vec<f32>>> {
    let groups: Vec<Vec<&Sequence>> = sequences.iter().map(|&sequence| vec![sequence]).collect();
    let mut found = vec![Vec::new(); sequences.len()];
    look_up(&groups, spec, |batch| policy.evaluate(batch), |g, _, stats| found[g] = stats.value)?;
    Ok(found)
}

/// Evaluates all sequences in micro-batches and hands each sequence its statistics.
fn look_up(
    groups: &[Vec<&Sequence>],
    spec: &PolicySpec,
    evaluate: impl Fn(&Batch) -> lyceum_nn::Result<TokenStats>,
    mut take: impl FnMut(usize, usize, TokenStats),
) -> Result<()> {
    for pieces in micro_batches(groups, spec.micro_tokens) {
        let members = members(groups, &pieces);
        let stats = evaluate(&pack(&members, temperature(spec))?)?;
        let mut from = 0;
        for &(g, s) in pieces.iter().flatten() {
            let to = from + groups[g][s].trained.len();
            take(g, s, slice(&stats, from, to));
            from = to;
        }
    }
    Ok(())
}

/// Gradient of one optimiser step, accumulated over micro-batches.
fn accumulate<P: Policy>(
    policy: &mut P,
    part: &[&Vec<Prepared<'_>>],
    spec: &PolicySpec,
) -> Result<ObjectiveStats> {
    let groups: Vec<Vec<&Sequence>> = part.iter().map(|g| g.iter().map(|s| s.sequence).collect()).collect();
    let lengths: Vec<usize> = groups.iter().flatten().map(|s| s.trained.len()).filter(|&n| n > 0).collect();
    let mut weights = token_weights(spec.denominator, &lengths, spec.max_new_tokens).into_iter();
    let weights: Vec<Vec<f32>> = groups
        .iter()
        .map(|g| {
            g.iter().map(|s| if s.trained.is_empty() { 0.0 } else { weights.next().unwrap_or(0.0) }).collect()
        })
        .collect();
    let mut total = ObjectiveStats::default();
    for pieces in micro_batches(&groups, spec.micro_tokens) {
        let batch = pack(&members(&groups, &pieces), temperature(spec))?;
        let stats = policy.logprobs(&batch)?;
        let mut grads = TokenGrads::default();
        let mut from = 0;
        for &(g, s) in pieces.iter().flatten() {
            let sample = &part[g][s];
            let to = from + sample.sequence.trained.len();
            let own = slice(&stats, from, to);
            let (stats, own) = spec.objective.evaluate(&SampleTokens {
                logp: &own.logp,
                entropy: &own.entropy,
                value: if sample.targets.returns.is_empty() { &[] } else { &own.value },
                behaviour: &sample.sequence.behaviour,
                old: &sample.before.logp,
                old_value: &sample.before.value,
                reference: &sample.before.reference,
                advantage: &sample.targets.advantages,
                returns: &sample.targets.returns,
                weight: weights[g][s],
            });
            total += stats;
            grads.logp.extend(own.logp);
            grads.entropy.extend(own.entropy);
            grads.value.extend(own.value);
            from = to;
        }
        policy.backward(&grads)?;
    }
    Ok(total)
}

fn members<'a>(groups: &[Vec<&'a Sequence>], pieces: &[Vec<(usize, usize)>]) -> Vec<Vec<&'a Sequence>> {
    pieces.iter().map(|piece| piece.iter().map(|&(g, s)| groups[g][s]).collect()).collect()
}

fn slice(stats: &TokenStats, from: usize, to: usize) -> TokenStats {
    let part = |values: &[f32]| values.get(from..to).unwrap_or_default().to_vec();
    TokenStats { logp: part(&stats.logp), entropy: part(&stats.entropy), value: part(&stats.value) }
}

/// The trainer's distribution is the one that was sampled from.
fn temperature(spec: &PolicySpec) -> f32 {
    spec.sampling.temperature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_stays_in_the_mean_and_gets_no_advantage() {
        let sample = |total: f32, cut| Scored {
            sequence: Sequence::default(),
            rewards: vec![0.0, total],
            ends: Vec::new(),
            cut,
        };
        let groups = [vec![sample(1.0, false), sample(0.0, true), sample(0.0, false)]];
        let rewards: Vec<SampleRewards<'_>> = groups[0]
            .iter()
            .map(|s| SampleRewards { rewards: &s.rewards, ends: &[], values: &[], log_ratio: 0.0 })
            .collect();
        let spec = crate::advantage::AdvantageSpec::Grpo { scale: crate::advantage::Scale::None };
        let mut advantages = spec.estimate(&[rewards], 9);
        silence(&groups, &mut advantages);
        let of = |sample: usize| advantages[0][sample].advantages.clone();
        let third = 1.0 / 3.0;
        assert_eq!(of(1), [0.0, 0.0]);
        assert!((of(0)[0] - 2.0 * third).abs() < 1e-6 && (of(2)[1] + third).abs() < 1e-6);
    }
}
