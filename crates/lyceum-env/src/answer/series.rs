//! The elementary functions as series over balls.

use num_bigint::BigInt;
use num_traits::{One, Signed, Zero};

use super::ball::Ball;

/// Sum of `first * (-step)^n / (2n + 1)` or, with `alternate` off, `first * step^n / (2n + 1)`: the arctangent series
/// and its hyperbolic twin. `step` must be at most about 1/4.
fn odd_series(first: &Ball, step: &Ball, alternate: bool, bits: u64) -> Ball {
    let mut sum = first.clone();
    let mut power = first.clone();
    for n in 1.. {
        power = power.times(step, bits);
        let Some(term) = power.over(&Ball::integer(2 * n + 1, bits), bits) else { break };
        sum = if alternate && n % 2 == 1 { sum.minus(&term) } else { sum.plus(&term) };
        if term.middle.abs() <= &term.radius + 1 {
            // The rest is a geometric series below the last term's bound.
            return sum.widened(&(term.middle.abs() + term.radius + 4));
        }
    }
    sum
}

fn inverse(n: i64, bits: u64) -> Ball {
    Ball { middle: (BigInt::one() << bits) / n, radius: BigInt::one() }
}

/// Arctangent of 1/n for an n of at least 2.
fn arctan_inverse(n: i64, bits: u64) -> Ball {
    odd_series(&inverse(n, bits), &inverse(n * n, bits), true, bits)
}

fn scaled(ball: &Ball, factor: i64) -> Ball {
    Ball { middle: &ball.middle * factor, radius: &ball.radius * factor.abs() }
}

/// Pi, by Machin's formula.
pub(super) fn pi(bits: u64) -> Ball {
    scaled(&arctan_inverse(5, bits), 16).minus(&scaled(&arctan_inverse(239, bits), 4))
}

fn ln_two(bits: u64) -> Ball {
    scaled(&odd_series(&inverse(3, bits), &inverse(9, bits), false, bits), 2)
}

/// The natural logarithm; `None` unless the whole ball is above zero.
pub(super) fn ln(x: &Ball, bits: u64) -> Option<Ball> {
    if !x.is_positive() {
        return None;
    }
    // x = m 2^k with m near 1, so that (m - 1) / (m + 1) is small.
    let k = i64::try_from(x.middle.bits()).ok()? - i64::try_from(bits).ok()?;
    let one = Ball::integer(1, bits);
    let m = if k >= 0 { x.over(&Ball::integer(1, bits + k.unsigned_abs()), bits)? } else { shifted(x, -k) };
    let ratio = m.minus(&one).over(&m.plus(&one), bits)?;
    let square = ratio.times(&ratio, bits);
    let tail = scaled(&odd_series(&ratio, &square, false, bits), 2);
    Some(tail.plus(&scaled(&ln_two(bits), k)))
}

/// The ball times `2^by`.
fn shifted(x: &Ball, by: i64) -> Ball {
    let by = by.unsigned_abs();
    Ball { middle: &x.middle << by, radius: &x.radius << by }
}

/// The exponential; `None` beyond |x| = 2000, where the value is of no use to anybody.
pub(super) fn exp(x: &Ball, bits: u64) -> Option<Ball> {
    if (x.middle.abs() >> bits) > BigInt::from(2_000) {
        return None;
    }
    // exp(x) = exp(x / 2^s)^(2^s), with guard bits against the growth of the error in the squarings.
    let s = 8 + (x.middle.abs() >> bits).bits();
    let guard = 2 * s + 16 + 3 * u64::try_from(x.middle.abs() >> bits).unwrap_or(0);
    let wide = bits + guard;
    let small = Ball { middle: &x.middle << (guard - s), radius: (&x.radius << (guard - s)) + 1 };
    let mut sum = Ball::integer(1, wide);
    let mut term = sum.clone();
    for n in 1.. {
        term = term.times(&small, wide).over(&Ball::integer(n, wide), wide)?;
        sum = sum.plus(&term);
        if term.middle.abs() <= &term.radius + 1 {
            sum = sum.widened(&(term.middle.abs() + &term.radius + 4));
            break;
        }
    }
    for _ in 0..s {
        sum = sum.times(&sum, wide);
    }
    Some(Ball { middle: sum.middle >> guard, radius: (sum.radius >> guard) + 2 })
}

/// Sine and cosine.
pub(super) fn sin_cos(x: &Ball, bits: u64) -> Option<(Ball, Ball)> {
    // Reduced by whole turns; a quarter of the rest keeps the series short.
    let guard = 32 + x.middle.bits().saturating_sub(bits);
    let wide = bits + guard;
    let wide_x = Ball { middle: &x.middle << guard, radius: &x.radius << guard };
    let turn = scaled(&pi(wide), 2);
    let turns = (&wide_x.middle + (&turn.middle >> 1u32)) / &turn.middle;
    let rest = wide_x.minus(&Ball { middle: &turn.middle * &turns, radius: &turn.radius * turns.abs() });
    let square = rest.times(&rest, wide);
    let series = |first: Ball, mut n: i64| -> Option<Ball> {
        let (mut sum, mut term) = (first.clone(), first);
        loop {
            term = term.times(&square, wide).over(&Ball::integer(-(n + 1) * (n + 2), wide), wide)?;
            sum = sum.plus(&term);
            n += 2;
            // |rest| is at most about 3.2: beyond n = 8 the terms fall by more than half each.
            if n > 8 && term.middle.abs() <= &term.radius + 1 {
                return Some(sum.widened(&(term.middle.abs() + &term.radius + 4)));
            }
        }
    };
    let narrow = |ball: Ball| Ball { middle: ball.middle >> guard, radius: (ball.radius >> guard) + 2 };
    Some((narrow(series(rest.clone(), 1)?), narrow(series(Ball::integer(1, wide), 0)?)))
}

/// The arctangent.
pub(super) fn arctan(x: &Ball, bits: u64) -> Option<Ball> {
    // Three halvings of the angle: x / (1 + sqrt(1 + x^2)). They bring any argument below 0.2.
    let one = Ball::integer(1, bits);
    let mut small = x.clone();
    for _ in 0..3 {
        let root = one.plus(&small.times(&small, bits)).root(2, bits)?;
        small = small.over(&one.plus(&root), bits)?;
    }
    if small.middle.is_zero() && small.radius.is_zero() {
        return Some(small);
    }
    let square = small.times(&small, bits);
    Some(scaled(&odd_series(&small, &square, true, bits), 8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_rational::BigRational;
    use num_traits::ToPrimitive;

    const BITS: u64 = 256;

    fn ball(x: f64) -> Ball {
        Ball::rational(&BigRational::from_float(x).unwrap(), BITS)
    }

    fn float(ball: &Ball) -> f64 {
        // Narrow enough to be an answer at all: 200 of the 256 bits are proven.
        assert!(ball.radius.bits() < BITS - 200, "radius of {} bits", ball.radius.bits());
        BigRational::new(ball.middle.clone(), BigInt::one() << BITS).to_f64().unwrap()
    }

    fn near(ball: &Ball, expected: f64) {
        let got = float(ball);
        assert!((got - expected).abs() <= 1e-13 * expected.abs().max(1e-3), "{got} {expected}");
    }

    #[test]
    fn functions_agree_with_the_machines() {
        near(&pi(BITS), std::f64::consts::PI);
        for x in [-30.0, -3.2, -1.0, -0.3, 0.001, 0.5, 1.0, 1.5, 2.0, 3.15, 7.7, 40.0] {
            near(&exp(&ball(x), BITS).unwrap(), x.exp());
            let (sin, cos) = sin_cos(&ball(x), BITS).unwrap();
            near(&sin, x.sin());
            near(&cos, x.cos());
            near(&arctan(&ball(x), BITS).unwrap(), x.atan());
        }
        for x in [1e-9, 0.1, 0.7, 1.0, 1.3, 2.0, 1e9] {
            near(&ln(&ball(x), BITS).unwrap(), x.ln());
        }
        assert!(ln(&ball(0.0), BITS).is_none() && ln(&ball(-1.0), BITS).is_none());
        assert!(exp(&ball(5_000.0), BITS).is_none());
    }

    #[test]
    fn identities_hold_to_the_proven_bits() {
        let close = |a: &Ball, b: &Ball| {
            let gap = a.minus(b);
            !gap.is_positive() && !gap.is_negative() && gap.radius.bits() < BITS - 200
        };
        for x in [-9.25, 0.0, 0.125, 2.5, 11.0] {
            let (sin, cos) = sin_cos(&ball(x), BITS).unwrap();
            let one = sin.times(&sin, BITS).plus(&cos.times(&cos, BITS));
            assert!(close(&one, &Ball::integer(1, BITS)), "{x}");
            let there_and_back = ln(&exp(&ball(x), BITS).unwrap(), BITS).unwrap();
            assert!(close(&there_and_back, &ball(x)), "{x}");
        }
        assert!(close(&scaled(&arctan(&ball(1.0), BITS).unwrap(), 4), &pi(BITS)));
    }
}
