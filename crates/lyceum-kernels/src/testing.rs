//! What the tests of all kernels share.

use proptest::test_runner::Config;

use crate::{Level, Pool};

/// A pool of each level of this machine, portable first, of one to three threads.
pub(crate) fn pools() -> impl Iterator<Item = Pool> {
    Level::available().zip([3, 2, 1, 2]).map(|(level, threads)| Pool::with_level(threads, level))
}

/// Property tests of kernels draw few cases, each of which runs at every level.
pub(crate) fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// `len` numbers of about normal distribution, always the same for a seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let mut uniform = || {
        // SplitMix64 (Steele et al. 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64 - 0.5
    };
    (0..len).map(|_| (2.0 * (uniform() + uniform() + uniform())) as f32).collect()
}

/// Asserts that each |x - y| is at most `tolerance` times the greatest |y|, or 1 where that is less.
#[track_caller]
pub(crate) fn assert_close<T: Copy + Into<f64>>(x: &[f32], y: &[T], tolerance: f64) {
    assert_eq!(x.len(), y.len());
    let bound = tolerance * y.iter().map(|&y| y.into().abs()).fold(1.0, f64::max);
    for (index, (&x, &y)) in x.iter().zip(y).enumerate() {
        let (x, y): (f64, f64) = (x.into(), y.into());
        assert!(x == y || (x - y).abs() <= bound, "at {index}: {x} is not {y} within {bound:e}");
    }
}

/// Asserts that `gradient` is that of `loss` at `x`: along random directions, dense and of one element, by central differences in f64.
#[track_caller]
pub(crate) fn assert_gradient(loss: impl Fn(&[f64]) -> f64, x: &[f32], gradient: &[f32], tolerance: f64) {
    const STEP: f64 = 1e-5;
    assert_eq!(x.len(), gradient.len());
    let size = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt().max(1.0);
    let directions = (0..4).map(|seed| noise(seed, x.len())).chain((0..8_usize).map(|k| {
        let mut one = vec![0.0; x.len()];
        one[(k * 7919 + k * k * 104_729) % x.len()] = 1.0;
        one
    }));
    for (index, direction) in directions.enumerate() {
        let shifted = |step: f64| {
            let x: Vec<f64> =
                x.iter().zip(&direction).map(|(&x, &d)| f64::from(x) + step * f64::from(d)).collect();
            loss(&x)
        };
        let measured = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
        let claimed: f64 = gradient.iter().zip(&direction).map(|(&g, &d)| f64::from(g) * f64::from(d)).sum();
        assert!(
            (measured - claimed).abs() <= tolerance * size,
            "direction {index}: the gradient says {claimed}, differences say {measured}"
        );
    }
}

pub(crate) fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().copied().map(f64::from).collect()
}

/// Inner product, in f64: a loss whose gradient by `x` is `weights`.
pub(crate) fn weigh(x: &[f64], weights: &[f32]) -> f64 {
    x.iter().zip(weights).map(|(x, &w)| x * f64::from(w)).sum()
}
