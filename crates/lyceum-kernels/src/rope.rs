//! Rotary position embedding (Su et al. 2021), in the half-rotation convention of Hugging Face's Llama:
//! element `i` of a head turns together with element `i + dim / 2`.

use crate::rows::split_rows;
use crate::simd::{Kernel, Lanes, run, steps};
use crate::{HeadSpan, Pool};

/// Cosines and sines of all positions up to a context length.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// positions x half a head each.
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl RopeTable {
    /// The table of positions `0..positions` for the given angles a position, one a pair of elements
    /// (usually `theta^(-2i/dim)`, scaled as the model says).
    ///
    /// The product of position and frequency is rounded to f32, as Hugging Face's code does.
    #[must_use]
    pub fn new(frequencies: &[f32], positions: usize) -> Self {
        let angles = || {
            (0..positions)
                .flat_map(|position| frequencies.iter().map(move |f| f64::from(position as f32 * f)))
        };
        Self {
            cos: angles().map(|angle| angle.cos() as f32).collect(),
            sin: angles().map(|angle| angle.sin() as f32).collect(),
            half: frequencies.len(),
        }
    }

    /// Number of positions in the table.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.half).unwrap_or(0)
    }
}

/// Direction of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// By the position's angles: the embedding.
    Forward,
    /// Back again: its gradient.
    Inverse,
}

/// Turns the heads of `span` in the rows of `x` in place, row `r` by the angles of `positions[r]`.
///
/// `x` is rows x `span.stride`.
///
/// # Panics
/// If the lengths do not fit together or a position is not in the table.
pub fn rope(
    pool: &Pool,
    span: HeadSpan,
    x: &mut [f32],
    positions: &[u32],
    table: &RopeTable,
    rotation: Rotation,
) {
    let rows = span.rows_of(x);
    assert_eq!(positions.len(), rows, "one position a row");
    assert_eq!(
        span.dim,
        2 * table.half,
        "the table must have half as many frequencies as a head has elements"
    );
    let last = positions.iter().max().map_or(0, |&position| position as usize + 1);
    assert!(last <= table.positions(), "position {last} is past the table's {}", table.positions());
    split_rows(pool, rows, span.heads * span.dim, [x], |range, [x]| {
        run(pool.level(), Rope { span, x, positions: &positions[range], table, rotation });
    });
}

struct Rope<'a> {
    span: HeadSpan,
    x: &'a mut [f32],
    positions: &'a [u32],
    table: &'a RopeTable,
    rotation: Rotation,
}

impl Kernel for Rope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let half = self.table.half;
        let sign = V::splat(if self.rotation == Rotation::Forward { 1.0 } else { -1.0 });
        for (row, &position) in self.positions.iter().enumerate() {
            let angles = position as usize * half..(position as usize + 1) * half;
            let (cos, sin) = (&self.table.cos[angles.clone()], &self.table.sin[angles]);
            for head in 0..self.span.heads {
                let head = &mut self.x[self.span.head(row * self.span.heads + head)];
                let (first, second) = head.split_at_mut(half);
                for i in steps::<V>(half) {
                    let (cos, sin) = (V::load(&cos[i..]), V::load(&sin[i..]) * sign);
                    let (a, b) = (V::load(&first[i..]), V::load(&second[i..]));
                    (a * cos - b * sin).store(&mut first[i..]);
                    a.mul_add(sin, b * cos).store(&mut second[i..]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, cases, noise, pools};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(cases(32))]

        #[test]
        fn rope_turns_pairs_and_turns_them_back(
            rows in prop_oneof![1_usize..5, 400_usize..500],
            heads in 1_usize..4,
            half in 1_usize..40,
            offset in 0_usize..20,
            seed in any::<u64>(),
        ) {
            let span = HeadSpan { stride: offset + heads * 2 * half + 1, offset, heads, dim: 2 * half };
            let frequencies: Vec<f32> = (0..half).map(|i| 10_000_f32.powf(-(i as f32) / half as f32)).collect();
            let table = RopeTable::new(&frequencies, 600);
            let positions: Vec<u32> = (0..rows).map(|row| ((row * 37) % 600) as u32).collect();
            let x = noise(seed, rows * span.stride);
            let mut expected: Vec<f64> = x.iter().copied().map(f64::from).collect();
            for (row, &position) in positions.iter().enumerate() {
                for head in 0..heads {
                    let start = row * span.stride + offset + head * 2 * half;
                    for (i, f) in frequencies.iter().enumerate() {
                        let (sin, cos) = f64::from(position as f32 * f).sin_cos();
                        let (a, b) = (f64::from(x[start + i]), f64::from(x[start + half + i]));
                        expected[start + i] = a * cos - b * sin;
                        expected[start + half + i] = a * sin + b * cos;
                    }
                }
            }
            for pool in pools() {
                let mut turned = x.clone();
                rope(&pool, span, &mut turned, &positions, &table, Rotation::Forward);
                assert_close(&turned, &expected, 1e-6);
                // A rotation's gradient is its inverse.
                rope(&pool, span, &mut turned, &positions, &table, Rotation::Inverse);
                assert_close(&turned, &x, 1e-6);
            }
        }
    }

    #[test]
    #[should_panic(expected = "past the table")]
    fn a_position_past_the_table_is_refused() {
        let span = HeadSpan { stride: 2, offset: 0, heads: 1, dim: 2 };
        rope(&Pool::new(1), span, &mut [0.0; 2], &[4], &RopeTable::new(&[1.0], 4), Rotation::Forward);
    }
}
