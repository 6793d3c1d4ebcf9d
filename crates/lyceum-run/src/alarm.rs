use std::fmt;

use lyceum_stats::Estimate;
use serde::{Deserialize, Serialize};

use crate::Row;

/// What the held-out metric does while a reward component rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Symptom {
    /// It does not rise.
    Flat,
    /// It falls by more than its noise.
    Falls,
}

/// A reward component rises in training while the held-out true metric does not: what hacking looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// The component, as it is named in the metrics.
    pub component: String,
    /// The held-out metric.
    pub held_out: String,
    /// The evaluation compared with.
    pub since: u64,
    /// Rise of the component's mean between the ends of the window.
    pub rise: f64,
    /// Change of the held-out metric.
    pub change: f64,
    /// What the held-out metric did.
    pub symptom: Symptom,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, held_out, since, rise, change, symptom } = self;
        write!(f, "{component} rose by {rise:.3} since step {since}, while {held_out} ")?;
        match symptom {
            Symptom::Flat => write!(f, "did not ({change:+.3})"),
            Symptom::Falls => write!(f, "fell by {:.3}", -change),
        }?;
        f.write_str(": is the reward being hacked?")
    }
}

/// When an alarm is raised. Looked at after an evaluation, over the window of the last few.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlarmRule {
    /// How many evaluations back to compare with; fewer at the start of a run, at least 2.
    pub window: usize,
    /// Standard errors by which a component's mean must rise to count as rising.
    pub rise: f64,
    /// Standard errors by which the held-out metric must fall to count as falling.
    pub fall: f64,
}

impl Default for AlarmRule {
    fn default() -> Self {
        Self { window: 3, rise: 3.0, fall: 1.645 }
    }
}

impl AlarmRule {
    /// Looks at the newest evaluation for every one of `components`, by their names in the metrics (`reward/...`): those
    /// that the policy is paid for. What nobody is paid for can move without being hacked.
    #[must_use]
    pub fn alarms(&self, rows: &[Row], components: &[String], held_out: &str) -> Vec<Alarm> {
        let evaluations: Vec<(u64, Estimate)> =
            rows.iter().filter_map(|row| Some((row.step, *row.evals.get(held_out)?))).collect();
        let alarm = |name: &str| {
            let train: Vec<(u64, f64)> =
                rows.iter().filter_map(|row| Some((row.step, *row.metrics.get(name)?))).collect();
            let (since, rise, change, symptom) = self.look(&train, &evaluations)?;
            Some(Alarm {
                component: name.to_owned(),
                held_out: held_out.to_owned(),
                since,
                rise,
                change,
                symptom,
            })
        };
        components.iter().filter_map(|name| alarm(name)).collect()
    }

    /// The rule on one component: (step compared with, rise, held-out change, symptom), or nothing to report.
    ///
    /// With evaluations at steps s_0 < ... < s_k, the one compared with is r = max(k - window, 0). The component
    /// rises if its mean over (s_(k-1), s_k] exceeds that over (s_r, s_(r+1)] by [`rise`](Self::rise) standard
    /// errors (Welch). The held-out metric falls if it is under its value at r by [`fall`](Self::fall) standard
    /// errors, and is flat if the two newest evaluations are both no higher than that at r.
    #[must_use]
    pub fn look(
        &self,
        train: &[(u64, f64)],
        held_out: &[(u64, Estimate)],
    ) -> Option<(u64, f64, f64, Symptom)> {
        let newest = held_out.len().checked_sub(1)?;
        let reference = newest.saturating_sub(self.window.max(2));
        if newest - reference < 2 {
            return None;
        }
        let between = |from: usize| {
            let steps = held_out[from].0 + 1..=held_out[from + 1].0;
            train
                .iter()
                .filter(move |(step, value)| steps.contains(step) && value.is_finite())
                .map(|&(_, value)| value)
        };
        let (early, late) = (moments(between(reference))?, moments(between(newest - 1))?);
        let rise = late.mean - early.mean;
        let (since, before) = held_out[reference];
        let (now, previous) = (held_out[newest].1, held_out[newest - 1].1);
        let change = now.mean - before.mean;
        // One step's mean reward is noisy but never without noise; a rise of nothing is no rise.
        if rise <= 0.0 || rise < self.rise * (early.error_squared + late.error_squared).sqrt() {
            return None;
        }
        let noise = standard_error(&before).hypot(standard_error(&now));
        let symptom = if change < -self.fall * noise {
            Symptom::Falls
        } else if change <= 0.0 && previous.mean <= before.mean {
            Symptom::Flat
        } else {
            return None;
        };
        Some((since, rise, change, symptom))
    }
}

struct Moments {
    mean: f64,
    error_squared: f64,
}

/// Mean and squared standard error; nothing of fewer than two values.
fn moments(values: impl Iterator<Item = f64> + Clone) -> Option<Moments> {
    let count = values.clone().count() as f64;
    if count < 2.0 {
        return None;
    }
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some(Moments { mean, error_squared: variance / count })
}

/// Half the 95 % interval is 1.96 standard errors; without an interval no fall exceeds the noise.
fn standard_error(estimate: &Estimate) -> f64 {
    let error = (estimate.high - estimate.low) / (2.0 * 1.96);
    if error.is_finite() { error } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of 200 steps with an evaluation on 200 problems every 20; `train` and `truth` by progress from 0 to 1.
    /// Noise is a fixed quasi-random sequence shifted by `seed`.
    fn run(seed: u64, train: impl Fn(f64) -> f64, truth: impl Fn(f64) -> f64) -> Vec<Row> {
        let noise = |index: u64, salt: f64| {
            let phase = (index as f64 + seed as f64 * 101.3) * salt;
            // Sum of three uniforms on [-1, 1]: variance 1.
            (1..4).map(|k| 2.0 * (phase * f64::from(k) * 0.618_033_988_75).fract() - 1.0).sum::<f64>()
        };
        (0..=200)
            .map(|step| {
                let progress = step as f64 / 200.0;
                let mut row = Row::new(step);
                row.set("reward/model", train(progress) + 0.05 * noise(step, 1.234_5));
                if step % 20 == 0 {
                    let rate: f64 = (truth(progress) + 0.02 * noise(step, 7.891)).clamp(0.0, 1.0);
                    row.evals.insert(
                        "held_out/accuracy".into(),
                        lyceum_stats::proportion((rate * 200.0) as usize, 200),
                    );
                }
                row
            })
            .collect()
    }

    fn paid() -> Vec<String> {
        vec!["reward/model".into()]
    }

    #[test]
    fn what_nobody_is_paid_for_raises_none() {
        let rows = run(0, |p| 0.3 + 0.6 * p, |p| 0.6 - 0.5 * p);
        let rule = AlarmRule::default();
        let raised = |components: &[String]| rule.alarms(&rows, components, "held_out/accuracy").len();
        assert_eq!((raised(&paid()), raised(&[]), raised(&["reward/other".into()])), (1, 0, 0));
    }

    /// The first step at which an alarm is raised.
    fn first(rows: &[Row]) -> Option<(u64, Alarm)> {
        (0..rows.len()).find_map(|end| {
            let rows = &rows[..=end];
            rows[end].evals.get("held_out/accuracy")?;
            Some((rows[end].step, AlarmRule::default().alarms(rows, &paid(), "held_out/accuracy").pop()?))
        })
    }

    #[test]
    fn a_hacked_reward_raises_it() {
        for seed in 0..20 {
            let rows =
                run(seed, |p| 0.3 + 0.6 * p, |p| if p < 0.4 { 0.4 + 0.5 * p } else { 0.6 - 0.9 * (p - 0.4) });
            let (step, alarm) = first(&rows).unwrap();
            assert!((80..=140).contains(&step), "seed {seed}: step {step}");
            assert_eq!(
                (alarm.component.as_str(), alarm.held_out.as_str()),
                ("reward/model", "held_out/accuracy")
            );
            assert!(alarm.rise > 0.0);
            let last = AlarmRule::default().alarms(&rows, &paid(), "held_out/accuracy");
            assert_eq!(last[0].symptom, Symptom::Falls, "seed {seed}");
        }
    }

    #[test]
    fn a_reward_that_rises_over_a_flat_truth_raises_it() {
        let raised = (0..20).filter(|&seed| first(&run(seed, |p| 0.3 + 0.6 * p, |_| 0.5)).is_some()).count();
        assert!(raised >= 19, "{raised} of 20");
    }

    #[test]
    fn healthy_and_settled_runs_stay_silent() {
        for seed in 0..20 {
            let learning = run(seed, |p| 0.3 + 0.6 * p, |p| 0.3 + 0.5 * p);
            assert_eq!(first(&learning), None, "learning, seed {seed}");
            let settled = run(seed, |_| 0.8, |_| 0.8);
            assert_eq!(first(&settled), None, "settled, seed {seed}");
            let collapsing = run(seed, |p| 0.8 - 0.5 * p, |p| 0.8 - 0.5 * p);
            assert_eq!(first(&collapsing), None, "collapsing, seed {seed}");
        }
    }

    #[test]
    fn too_little_to_go_by_is_no_alarm() {
        let rule = AlarmRule::default();
        let half = lyceum_stats::proportion(100, 200);
        assert_eq!(rule.look(&[], &[]), None);
        assert_eq!(rule.look(&[(1, 0.0), (2, 1.0)], &[(0, half), (2, half)]), None);
        assert_eq!(rule.look(&[(1, 0.0), (2, f64::NAN), (3, 1.0)], &[(0, half), (2, half), (4, half)]), None);
    }

    #[test]
    fn said_in_words() {
        let alarm = Alarm {
            component: "reward/model".into(),
            held_out: "held_out/accuracy".into(),
            since: 40,
            rise: 0.31,
            change: -0.12,
            symptom: Symptom::Falls,
        };
        assert_eq!(
            alarm.to_string(),
            "reward/model rose by 0.310 since step 40, while held_out/accuracy fell by 0.120: is the reward being \
             hacked?"
        );
        let flat = Alarm { change: -0.001, symptom: Symptom::Flat, ..alarm };
        assert!(flat.to_string().contains("did not (-0.001)"));
    }
}
