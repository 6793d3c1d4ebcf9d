//! Learning-rate schedules: pure functions from the step to a factor of the peak rate.

use serde::{Deserialize, Serialize};

/// The course of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Stays at the peak.
    #[default]
    Constant,
    /// Falls on a line to the final factor.
    Linear,
    /// Falls along half a cosine to the final factor.
    Cosine,
}

/// A linear warm-up followed by a decay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Course after the warm-up.
    pub decay: Decay,
    /// Steps of linear warm-up; the first step already has factor `1 / (warmup + 1)`.
    pub warmup: u64,
    /// Steps in all, warm-up included; later steps stay at the final factor.
    pub total: u64,
    /// Factor at `total`, in units of the peak rate; unused by [`Decay::Constant`].
    pub final_factor: f32,
}

impl Schedule {
    /// The peak rate from the first step on.
    pub fn constant() -> Self {
        Self { decay: Decay::Constant, warmup: 0, total: 0, final_factor: 1.0 }
    }

    /// The factor of the peak learning rate at `step` (counted from 0), in [0, 1] if `final_factor` is.
    pub fn factor(&self, step: u64) -> f32 {
        if step < self.warmup {
            return ((step + 1) as f64 / (self.warmup + 1) as f64) as f32;
        }
        let span = self.total.saturating_sub(self.warmup).max(1);
        let progress = ((step - self.warmup) as f64 / span as f64).min(1.0);
        let remaining = match self.decay {
            Decay::Constant => return 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        let floor = f64::from(self.final_factor);
        (floor + (1.0 - floor) * remaining) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn worked_examples() {
        assert_eq!(Schedule::constant().factor(1000), 1.0);
        let linear = Schedule { decay: Decay::Linear, warmup: 4, total: 14, final_factor: 0.0 };
        let factors: Vec<f32> = [0, 3, 4, 9, 14, 99].map(|step| linear.factor(step)).to_vec();
        assert_eq!(factors, [0.2, 0.8, 1.0, 0.5, 0.0, 0.0]);
        let cosine = Schedule { decay: Decay::Cosine, warmup: 0, total: 10, final_factor: 0.1 };
        assert_eq!(cosine.factor(0), 1.0);
        assert!((cosine.factor(5) - 0.55).abs() < 1e-6);
        assert!((cosine.factor(10) - 0.1).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn rises_then_falls(warmup in 0u64..20, span in 1u64..50, floor in 0.0f32..1.0, cosine: bool) {
            let decay = if cosine { Decay::Cosine } else { Decay::Linear };
            let schedule = Schedule { decay, warmup, total: warmup + span, final_factor: floor };
            let factors: Vec<f32> = (0..warmup + span + 5).map(|step| schedule.factor(step)).collect();
            prop_assert!(factors.iter().all(|f| (0.0..=1.0).contains(f)));
            prop_assert!(factors[..=warmup as usize].windows(2).all(|w| w[0] < w[1]));
            prop_assert!(factors[warmup as usize..].windows(2).all(|w| w[0] >= w[1]));
            prop_assert_eq!(factors[warmup as usize], 1.0);
        }
    }
}
