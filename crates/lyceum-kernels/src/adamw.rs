//! AdamW (Loshchilov and Hutter 2019, algorithm 2) in PyTorch's formulation, over flat slices.

use half::bf16;

use crate::Pool;
use crate::pool::{Disjoint, share};
use crate::simd::{Kernel, Lanes, run, steps};

/// Settings of one optimiser step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// The gradient is multiplied by this first: clipping by global norm, mean over micro-batches.
    pub gradient_scale: f32,
    /// Number of this step, from 1: corrects the moments' bias.
    pub step: u64,
}

/// One AdamW step over `params`, with the moments `m` and `v`; `mirror`, if given, receives the new parameters in bf16.
///
/// `p <- p (1 - lr wd)`, `m <- b1 m + (1 - b1) g`, `v <- b2 v + (1 - b2) g^2`,
/// `p <- p - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)`.
///
/// # Panics
/// If the lengths differ or `step` is 0.
pub fn adamw(
    pool: &Pool,
    settings: &AdamWStep,
    params: &mut [f32],
    gradients: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    mirror: Option<&mut [bf16]>,
) {
    let len = params.len();
    assert!(
        gradients.len() == len && m.len() == len && v.len() == len,
        "gradients and moments must be {len} long"
    );
    assert!(mirror.as_ref().is_none_or(|mirror| mirror.len() == len), "the mirror must be {len} long");
    assert!(settings.step > 0, "steps count from 1");
    let (params, m, v) = (Disjoint::new(params), Disjoint::new(m), Disjoint::new(v));
    let mirror = mirror.map(Disjoint::new);
    pool.run(|worker| {
        let range = share(len, pool.threads(), worker);
        let gradients = &gradients[range.clone()];
        // SAFETY: the shares of different workers do not overlap.
        let (params, m, v) =
            unsafe { (params.slice(range.clone()), m.slice(range.clone()), v.slice(range.clone())) };
        // SAFETY: as above.
        let mirror = mirror.as_ref().map(|mirror| unsafe { mirror.slice(range) });
        run(pool.level(), Step { settings, params, gradients, m, v, mirror });
    });
}

struct Step<'a> {
    settings: &'a AdamWStep,
    params: &'a mut [f32],
    gradients: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    mirror: Option<&'a mut [bf16]>,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(mut self) {
        let AdamWStep { learning_rate, beta1, beta2, eps, weight_decay, gradient_scale, step } =
            *self.settings;
        // In f64, as Python computes them.
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
        let step_size = V::splat((-f64::from(learning_rate) / correction(beta1)) as f32);
        let root = V::splat((1.0 / correction(beta2).sqrt()) as f32);
        let keep = V::splat((1.0 - f64::from(learning_rate) * f64::from(weight_decay)) as f32);
        let (gain1, gain2) = (V::splat(1.0 - beta1), V::splat(1.0 - beta2));
        let (beta2, eps, scale) = (V::splat(beta2), V::splat(eps), V::splat(gradient_scale));
        for i in steps::<V>(self.params.len()) {
            let g = V::load(&self.gradients[i..]) * scale;
            let m = V::load(&self.m[i..]);
            let m = (g - m).mul_add(gain1, m);
            let v = (g * g).mul_add(gain2, V::load(&self.v[i..]) * beta2);
            let update = m / v.sqrt().mul_add(root, eps);
            let p = update.mul_add(step_size, V::load(&self.params[i..]) * keep);
            m.store(&mut self.m[i..]);
            v.store(&mut self.v[i..]);
            p.store(&mut self.params[i..]);
            if let Some(mirror) = &mut self.mirror {
                p.store_bf16(&mut mirror[i..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, cases, noise, pools};
    use proptest::prelude::*;

    const SETTINGS: AdamWStep = AdamWStep {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.1,
        gradient_scale: 0.5,
        step: 1,
    };

    /// One parameter with its moments, in f64, as PyTorch's documentation writes the algorithm.
    fn oracle(settings: &AdamWStep, [p, m, v]: [f64; 3], g: f64) -> [f64; 3] {
        let [lr, b1, b2] = [settings.learning_rate, settings.beta1, settings.beta2].map(f64::from);
        let g = g * f64::from(settings.gradient_scale);
        let p = p - lr * f64::from(settings.weight_decay) * p;
        let (m, v) = (b1 * m + (1.0 - b1) * g, b2 * v + (1.0 - b2) * g * g);
        let step = i32::try_from(settings.step).unwrap();
        let (m_hat, v_hat) = (m / (1.0 - b1.powi(step)), v / (1.0 - b2.powi(step)));
        [p - lr * m_hat / (v_hat.sqrt() + f64::from(settings.eps)), m, v]
    }

    proptest! {
        #![proptest_config(cases(32))]

        #[test]
        fn steps_follow_the_algorithm(len in prop_oneof![1_usize..50, 2000_usize..2100], mirrored in any::<bool>(), seed in any::<u64>()) {
            for pool in pools() {
                let mut state = [noise(seed, len), vec![0.0; len], vec![0.0; len]];
                let mut expected: Vec<[f64; 3]> = state[0].iter().map(|&p| [f64::from(p), 0.0, 0.0]).collect();
                let mut mirror = vec![bf16::NAN; len];
                for step in 1..5 {
                    let settings = AdamWStep { step, ..SETTINGS };
                    let g = noise(seed ^ step, len);
                    for (state, &g) in expected.iter_mut().zip(&g) {
                        *state = oracle(&settings, *state, f64::from(g));
                    }
                    let [p, m, v] = &mut state;
                    adamw(&pool, &settings, p, &g, m, v, mirrored.then_some(&mut mirror));
                }
                for (k, state) in state.iter().enumerate() {
                    let expected: Vec<f64> = expected.iter().map(|state| state[k]).collect();
                    assert_close(state, &expected, 1e-5);
                }
                if mirrored {
                    let rounded: Vec<bf16> = state[0].iter().copied().map(bf16::from_f32).collect();
                    prop_assert_eq!(mirror, rounded);
                }
            }
        }
    }

    #[test]
    fn the_first_step_is_the_learning_rate_against_the_gradients_sign() {
        let pool = Pool::new(1);
        let settings = AdamWStep { weight_decay: 0.0, ..SETTINGS };
        let (mut p, mut m, mut v) = ([1.0, 1.0, 1.0], [0.0; 3], [0.0; 3]);
        adamw(&pool, &settings, &mut p, &[3.0, -0.01, 0.0], &mut m, &mut v, None);
        assert_close(&p, &[0.99, 1.01, 1.0], 1e-6);
    }
}
