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
