//! Ball arithmetic: a fixed-point number with a proven bound of its error.

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

/// Some real number within `radius` of `middle`, both counted in units of `2^-bits`. All operations return a ball that
/// holds the exact result for every choice of numbers in the operands.
#[derive(Clone, Debug)]
pub(super) struct Ball {
    pub(super) middle: BigInt,
    pub(super) radius: BigInt,
}

impl Ball {
    pub(super) fn rational(value: &BigRational, bits: u64) -> Self {
        let (middle, rest) = (value.numer() << bits).div_mod_floor(value.denom());
        let radius = if rest.is_zero() { BigInt::zero() } else { BigInt::one() };
        Self { middle, radius }
    }

    pub(super) fn integer(value: i64, bits: u64) -> Self {
        Self { middle: BigInt::from(value) << bits, radius: BigInt::zero() }
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        Self { middle: &self.middle + &other.middle, radius: &self.radius + &other.radius }
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        Self { middle: &self.middle - &other.middle, radius: &self.radius + &other.radius }
    }

    pub(super) fn times(&self, other: &Self, bits: u64) -> Self {
        let spread = self.middle.abs() * &other.radius
            + other.middle.abs() * &self.radius
            + &self.radius * &other.radius;
        Self { middle: (&self.middle * &other.middle) >> bits, radius: (spread >> bits) + 2 }
    }

    /// `None` if the divisor may be zero.
    pub(super) fn over(&self, divisor: &Self, bits: u64) -> Option<Self> {
        let least = divisor.middle.abs() - &divisor.radius;
        if !least.is_positive() {
            return None;
        }
        let spread = self.middle.abs() * &divisor.radius + divisor.middle.abs() * &self.radius;
        Some(Self {
            middle: (&self.middle << bits).div_floor(&divisor.middle),
            radius: (spread << bits) / (divisor.middle.abs() * least) + 2,
        })
    }

    /// The `degree`-th root of a number known to be zero or more. `None` if the whole ball is below zero.
    pub(super) fn root(&self, degree: u32, bits: u64) -> Option<Self> {
        let high = &self.middle + &self.radius;
        if high.is_negative() {
            return None;
        }
        let low = (&self.middle - &self.radius).max(BigInt::zero());
        let scale = bits * u64::from(degree - 1);
        let (low, high) = ((low << scale).nth_root(degree), (high << scale).nth_root(degree) + 1);
        Some(Self { middle: (&low + &high) >> 1u32, radius: ((high - low) >> 1u32) + 1 })
    }

    pub(super) fn is_positive(&self) -> bool {
        self.middle > self.radius
    }

    pub(super) fn is_negative(&self) -> bool {
        -&self.middle > self.radius
    }

    /// Widens by `2^-bits * units`.
    pub(super) fn widened(mut self, units: &BigInt) -> Self {
        self.radius += units;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ratio(n: i64, d: i64) -> BigRational {
        BigRational::new(n.into(), d.into())
    }

    /// Whether the ball holds `value` and is no wider than `units`.
    fn holds(ball: &Ball, value: &BigRational, bits: u64, units: i64) -> bool {
        let scaled = value * BigRational::from_integer(BigInt::one() << bits);
        let distance = (scaled - BigRational::from_integer(ball.middle.clone())).abs();
        distance <= BigRational::from_integer(ball.radius.clone()) && ball.radius <= BigInt::from(units)
    }

    proptest! {
        #[test]
        fn results_lie_in_the_ball(a in -999i64..999, b in 1i64..99, c in -999i64..999, d in 1i64..99, bits in 1u64..80) {
            let (x, y) = (ratio(a, b), ratio(c, d));
            let (p, q) = (Ball::rational(&x, bits), Ball::rational(&y, bits));
            prop_assert!(holds(&p.plus(&q), &(&x + &y), bits, 2));
            prop_assert!(holds(&p.minus(&q), &(&x - &y), bits, 2));
            prop_assert!(holds(&p.times(&q, bits), &(&x * &y), bits, 2_100));
            if let Some(quotient) = p.over(&q, bits) {
                prop_assert!(holds(&quotient, &(&x / &y), bits, i64::MAX));
            }
            let square = Ball::rational(&(&x * &x), bits);
            if let Some(root) = square.root(2, bits) {
                prop_assert!(holds(&root, &x.abs(), bits, i64::MAX));
            }
        }
    }

    #[test]
    fn zero_divisors_and_roots_of_negatives_have_no_ball() {
        let (one, zero) = (Ball::integer(1, 8), Ball::integer(0, 8));
        assert!(one.over(&zero, 8).is_none());
        assert!(one.over(&zero.clone().widened(&BigInt::one()), 8).is_none());
        assert!(Ball::integer(-2, 8).root(2, 8).is_none());
    }
}
