//! Reductions to one number, the same for every number of threads.

use crate::Pool;
use crate::simd::{Kernel, Lanes, run, steps};

/// Elements that are added up in f32 lanes before they join an f64 total.
const BLOCK: usize = 1024;

/// The sum of squares of `x`; not finite if and only if an element is not, or the sum overflows f32 within 1024 elements.
#[must_use]
pub fn squared_norm(pool: &Pool, x: &[f32]) -> f64 {
    dot(pool, x, x)
}

/// The inner product of `x` and `y`.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn dot(pool: &Pool, x: &[f32], y: &[f32]) -> f64 {
    assert_eq!(x.len(), y.len(), "x and y differ in length");
    let mut blocks = vec![0.0_f64; x.len().div_ceil(BLOCK)];
    let fill = |first: usize, part: &mut [f64]| {
        for (index, sum) in part.iter_mut().enumerate() {
            let start = (first + index) * BLOCK;
            let range = start..x.len().min(start + BLOCK);
            *sum = f64::from(run(pool.level(), Dot { x: &x[range.clone()], y: &y[range] }));
        }
    };
    if blocks.len() < 32 {
        fill(0, &mut blocks);
    } else {
        pool.split(&mut blocks, 1, fill);
    }
    blocks.iter().sum()
}

struct Dot<'a> {
    x: &'a [f32],
    y: &'a [f32],
}

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<V: Lanes>(self) -> f32 {
        // Four chains hide the latency of the addition.
        let mut sums = [V::zero(); 4];
        let mut whole = self.x.chunks_exact(4 * V::N).zip(self.y.chunks_exact(4 * V::N));
        for (x, y) in whole.by_ref() {
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(&x[k * V::N..]).mul_add(V::load(&y[k * V::N..]), *sum);
            }
        }
        let rest = self.x.len() / (4 * V::N) * (4 * V::N);
        for i in steps::<V>(self.x.len() - rest) {
            sums[0] = V::load(&self.x[rest + i..]).mul_add(V::load(&self.y[rest + i..]), sums[0]);
        }
        ((sums[0] + sums[1]) + (sums[2] + sums[3])).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cases, noise, pools, widen};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(cases(32))]

        #[test]
        fn dot_is_the_definition_for_any_threads(len in 0_usize..5000, long in any::<bool>(), seed in any::<u64>()) {
            let len = len + if long { 60_000 } else { 0 };
            let (x, y) = (noise(seed, len), noise(!seed, len));
            let expected: f64 = widen(&x).iter().zip(widen(&y)).map(|(x, y)| x * y).sum();
            for pool in pools() {
                let product = dot(&pool, &x, &y);
                prop_assert!((product - expected).abs() <= 1e-6 * (len as f64).sqrt().max(1.0));
                prop_assert_eq!(product.to_bits(), dot(&Pool::with_level(5, pool.level()), &x, &y).to_bits());
            }
        }
    }

    #[test]
    fn a_norm_shows_what_is_not_finite() {
        for pool in pools() {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = noise(1, 3001);
                assert!(squared_norm(&pool, &x).is_finite());
                x[3000] = bad;
                assert!(!squared_norm(&pool, &x).is_finite());
            }
        }
    }
}
