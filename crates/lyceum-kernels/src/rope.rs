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
