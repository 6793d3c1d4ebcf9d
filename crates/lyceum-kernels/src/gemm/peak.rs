//! The machine's limit that products are measured against.

use std::hint::black_box;
use std::time::Instant;

#[cfg(target_arch = "x86_64")]
use super::isa::{Avx2, Avx512, Pairs};
use super::isa::{Floats, Isa, Operands, Portable};
use super::{Level, Pool, Precision};

/// Steps of a measurement, some milliseconds.
const STEPS: usize = 1 << 19;
/// Vectors of sums: enough to hide the latency of a multiply-add, and at every level few enough for the registers.
const SUMS: usize = 12;
const TRIES: usize = 8;

/// The most multiply-adds a second, in GFLOP/s (two operations each), that the pool's threads reach together with the
/// instruction products of `precision` are made of, when operands and sums stay in registers: the best of several tries.
#[must_use]
pub fn peak_gflops(pool: &Pool, precision: Precision) -> f64 {
    let kernel = pick(pool.level(), precision);
    let measure = |_| {
        let begin = Instant::now();
        // SAFETY: a pool's level is one that the machine has.
        pool.run(|_| unsafe { (kernel.run)(STEPS) });
        (pool.threads() * STEPS * SUMS * kernel.operations) as f64 / begin.elapsed().as_secs_f64() / 1e9
    };
    (0..TRIES).map(measure).fold(0.0, f64::max)
}

struct Kernel {
    run: unsafe fn(usize),
    /// Operations of one multiply-add of vectors.
    operations: usize,
}

fn pick(level: Level, precision: Precision) -> Kernel {
    match (level, precision) {
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512Bf16, Precision::Bf16) => Kernel { run: avx512bf16, operations: 4 * Avx512::LANES },
        #[cfg(target_arch = "x86_64")]
        (Level::Avx512Bf16 | Level::Avx512, _) => Kernel { run: avx512, operations: 2 * Avx512::LANES },
        #[cfg(target_arch = "x86_64")]
        (Level::Avx2, _) => Kernel { run: avx2, operations: 2 * Avx2::LANES },
        _ => Kernel { run: portable, operations: 2 * Portable::LANES },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")]
unsafe fn avx512bf16(steps: usize) {
    // SAFETY: compiled for the level.
    unsafe { sums::<Avx512, Pairs>(steps) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn avx512(steps: usize) {
    // SAFETY: as above.
    unsafe { sums::<Avx512, Floats>(steps) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(steps: usize) {
    // SAFETY: as above.
    unsafe { sums::<Avx2, Floats>(steps) }
}

unsafe fn portable(steps: usize) {
    // SAFETY: every machine has it.
    unsafe { sums::<Portable, Floats>(steps) }
}

#[inline(always)]
unsafe fn sums<I: Isa, O: Operands<I>>(steps: usize) {
    let one = black_box(1.0_f32);
    // SAFETY: by the contract of `Isa`, the level being the caller's.
    unsafe {
        let operand = I::splat(&one);
        let mut sums = [I::zero(); SUMS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = O::multiply_add(operand, operand, *sum);
            }
        }
        let mut out = [0.0_f32; 16];
        for sum in sums {
            I::store(sum, out.as_mut_ptr(), I::LANES);
            black_box(&out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_finite_and_the_narrow_type_is_no_slower_by_half() {
        let pool = Pool::new(1);
        let (f32, bf16) = (peak_gflops(&pool, Precision::F32), peak_gflops(&pool, Precision::Bf16));
        assert!(f32.is_finite() && f32 > 0.0 && bf16 > 0.5 * f32, "{f32} and {bf16}");
    }
}
