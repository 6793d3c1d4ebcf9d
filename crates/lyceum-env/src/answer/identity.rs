//! Whether two expressions are the same: by exact evaluation at several points.
//!
//! Letters are given rational values drawn from the answers' own hash, so that no answer can be built for known points.
//! Values are exact; two different polynomials agree at a point with a chance below (degree / 10^6), at all of them
//! never in practice (Schwartz-Zippel).

use std::collections::{BTreeSet, HashMap};

use num_rational::BigRational;
use num_traits::{Signed, Zero};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::evaluate::{Complex, Evaluator, Point, key};
use super::exact::Exact;
use super::expression::{Constant, Expression};
use super::meter::{Meter, Stop};
use super::real::{Reals, Sign};
use crate::task::keyed::generator;

/// Points that are tried, and how many of them must be comparable.
const ROUNDS: u64 = 6;
const ENOUGH: usize = 3;

const CONSTANTS: [Constant; 4] = [Constant::Pi, Constant::E, Constant::Infinity, Constant::Degree];

/// Compares expressions within one budget.
pub(super) struct Judge {
    pub(super) meter: Meter,
    /// Chooses the points.
    pub(super) seed: u64,
    /// Largest relative difference of numbers that still counts as equal.
    pub(super) tolerance: BigRational,
}

impl Judge {
    /// Whether `a` and `b` have the same value wherever both have one.
    pub(super) fn same(&mut self, a: &Expression, b: &Expression) -> Result<bool, Stop> {
        if a == b {
            return Ok(true);
        }
        let approximate = self.tolerance.is_positive() && a.is_constant() && b.is_constant();
        let tolerance = self.tolerance.clone();
        self.everywhere(&[a, b], |evaluator, values| {
            if evaluator.is_same(values[0], values[1])? {
                return Ok(true);
            }
            if !approximate {
                return Ok(false);
            }
            let gap = evaluator.difference(values[0], values[1])?;
            Ok(within(evaluator, gap, values[0], &tolerance)?
                || within(evaluator, gap, values[1], &tolerance)?)
        })
    }

    /// Whether `a = c b` for a number c other than zero; with `positive`, above zero.
    pub(super) fn proportional(
        &mut self,
        a: &Expression,
        b: &Expression,
        positive: bool,
    ) -> Result<bool, Stop> {
        // a(x) / b(x) must be the same at all points: compared with the first point's by cross multiplication.
        let points = self.points(&[a, b]);
        let mut ratios = Vec::new();
        for point in &points {
            let mut evaluator = Evaluator { point, reals: Reals::new(&mut self.meter) };
            let (x, y) = (evaluator.value(a)?, evaluator.value(b)?);
            let (Some(x), Some(y)) =
                (evaluator.reals.as_rational(x.re).cloned(), evaluator.reals.as_rational(y.re).cloned())
            else {
                return Err(Stop::Unsupported);
            };
            if x.is_zero() != y.is_zero() {
                return Ok(false);
            }
            if !x.is_zero() {
                ratios.push(Exact(x / y));
            }
        }
        let Some(first) = ratios.first() else { return Ok(true) };
        Ok(ratios.iter().all(|ratio| ratio == first) && (!positive || first.0.is_positive()))
    }

    /// Runs `test` on the values of `expressions` at several points; all must pass.
    fn everywhere(
        &mut self,
        expressions: &[&Expression],
        test: impl Fn(&mut Evaluator<'_, '_>, &[Complex]) -> Result<bool, Stop>,
    ) -> Result<bool, Stop> {
        let points = self.points(expressions);
        let wanted = ENOUGH.min(points.len());
        let mut compared = 0;
        let mut trouble = Stop::Undefined;
        for point in &points {
            let mut evaluator = Evaluator { point, reals: Reals::new(&mut self.meter) };
            let values: Result<Vec<Complex>, Stop> =
                expressions.iter().map(|expression| evaluator.value(expression)).collect();
            match values.and_then(|values| test(&mut evaluator, &values)) {
                Ok(true) => compared += 1,
                Ok(false) => return Ok(false),
                // Outside the domain of one of them: says nothing, other points may.
                Err(stop @ (Stop::Undefined | Stop::Unsupported)) => trouble = stop,
                Err(stop) => return Err(stop),
            }
        }
        if compared >= wanted { Ok(true) } else { Err(trouble) }
    }

    fn points(&self, expressions: &[&Expression]) -> Vec<Point> {
        let letters: BTreeSet<&str> = expressions.iter().flat_map(|e| e.letters()).collect();
        let whole: BTreeSet<&str> = expressions.iter().flat_map(|e| e.whole_letters()).collect();
        let values = expressions.iter().any(|e| e.needs_values());
        let symbols = expressions
            .iter()
            .any(|e| e.any(&|part| matches!(part, Expression::Constant(c) if CONSTANTS.contains(c))));
        let rounds = if letters.is_empty() && (values || !symbols) { 1 } else { ROUNDS };
        (0..rounds)
            .map(|round| {
                let mut random = generator("answer/point", &[self.seed, round]);
                let mut point = Point { letters: HashMap::new(), values };
                for constant in CONSTANTS {
                    point.letters.insert(key(constant).to_owned(), draw(&mut random, 0));
                }
                for &letter in &letters {
                    let value = if whole.contains(letter) {
                        BigRational::from_integer(random.random_range(1..=9).into())
                    } else {
                        draw(&mut random, round)
                    };
                    point.letters.insert(letter.to_owned(), value);
                }
                point
            })
            .collect()
    }
}

/// Above one, between zero and one, and both with either sign: functions of every usual domain meet some of them.
fn draw(random: &mut ChaCha8Rng, round: u64) -> BigRational {
    let small: i64 = random.random_range(2..=997);
    let large: i64 = random.random_range(998..=9_973);
    let sign = if round % 4 >= 2 && random.random_bool(0.7) { -1 } else { 1 };
    if round.is_multiple_of(2) {
        BigRational::new((sign * large).into(), small.into())
    } else {
        BigRational::new((sign * small).into(), large.into())
    }
}

/// Whether |gap| <= tolerance |scale|, for real numbers.
fn within(
    evaluator: &mut Evaluator<'_, '_>,
    gap: Complex,
    scale: Complex,
    tolerance: &BigRational,
) -> Result<bool, Stop> {
    let reals = &mut evaluator.reals;
    if reals.sign(gap.im)? != Sign::Zero || reals.sign(scale.im)? != Sign::Zero {
        return Ok(false);
    }
    let tolerance = reals.rational(tolerance.clone())?;
    let bound = reals.product(tolerance, scale.re)?;
    let (square, bound) = (reals.product(gap.re, gap.re)?, reals.product(bound, bound)?);
    let room = reals.difference(bound, square)?;
    Ok(reals.sign(room)? != Sign::Negative)
}
