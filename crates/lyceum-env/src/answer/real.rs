//! Exact real numbers: built from rationals by `+ - * /`, roots and elementary functions, with a sign that is decided.
//!
//! A number is a node of a graph. Rational results are folded at once, so most answers never leave rational arithmetic.
//! For the others the sign is found by evaluating to ever narrower balls. That alone would never prove a zero; for
//! algebraic numbers the separation bound of Burnikel, Funke, Mehlhorn, Schirra and Schmitt (ESA 2001) says how narrow
//! is narrow enough: an expression of value x != 0 with bounds (u, l) and radicals of degrees k1..kn has
//! `|x| >= 1 / (u^(D-1) l)`, `D = k1 ... kn`. Numbers with pi, e or a function in them have no such bound: there,
//! [`AGREEMENT_BITS`] bits without a difference count as zero.

use std::collections::HashMap;

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::ball::Ball;
use super::exact::Exact;
use super::meter::{Meter, Stop};
use super::series;

/// How small a number with transcendental parts must be shown to be, in bits, before it counts as zero.
const AGREEMENT_BITS: u64 = 256;
/// Finest evaluation, in bits after the point.
const FINEST_BITS: u64 = 60_000;
/// Largest degree of a root.
const LARGEST_DEGREE: u32 = 64;

/// A number in a [`Reals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Real(usize);

/// The elementary functions of one real number that need series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Series {
    Exp,
    Ln,
    Sin,
    Cos,
    Arctan,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    Rational(Exact),
    Sum(Real, Real),
    Product(Real, Real),
    Quotient(Real, Real),
    Root(u32, Real),
    Pi,
    Apply(Series, Real),
}

/// On which side of zero a number lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Negative,
    Zero,
    Positive,
}

/// A graph of numbers. Equal nodes are one node, so a radical that occurs twice counts once in the bound.
pub(super) struct Reals<'m> {
    nodes: Vec<Node>,
    known: HashMap<Node, Real>,
    meter: &'m mut Meter,
}

impl<'m> Reals<'m> {
    pub(super) fn new(meter: &'m mut Meter) -> Self {
        Self { nodes: Vec::new(), known: HashMap::new(), meter }
    }

    fn insert(&mut self, node: Node) -> Result<Real, Stop> {
        if let Some(&known) = self.known.get(&node) {
            return Ok(known);
        }
        self.meter.spend(16)?;
        let real = Real(self.nodes.len());
        self.nodes.push(node.clone());
        self.known.insert(node, real);
        Ok(real)
    }

    pub(super) fn rational(&mut self, value: BigRational) -> Result<Real, Stop> {
        self.insert(Node::Rational(Exact(value)))
    }

    pub(super) fn integer(&mut self, value: i64) -> Result<Real, Stop> {
        self.rational(BigRational::from_integer(value.into()))
    }

    pub(super) fn pi(&mut self) -> Result<Real, Stop> {
        self.insert(Node::Pi)
    }

    /// The number as a rational, if it was folded to one.
    pub(super) fn as_rational(&self, x: Real) -> Option<&BigRational> {
        match &self.nodes[x.0] {
            Node::Rational(value) => Some(&value.0),
            _ => None,
        }
    }

    fn both(&self, a: Real, b: Real) -> Option<(&BigRational, &BigRational)> {
        Some((self.as_rational(a)?, self.as_rational(b)?))
    }

    /// Pays for an operation on two rationals.
    fn pay(&mut self, x: &BigRational, y: &BigRational) -> Result<(), Stop> {
        self.meter.multiply(size(x), size(y))?;
        if x.is_integer() && y.is_integer() { Ok(()) } else { self.meter.reduce(size(x) + size(y)) }
    }

    fn is_rational(&self, x: Real, value: i64) -> bool {
        self.as_rational(x).is_some_and(|r| r.is_integer() && *r.numer() == BigInt::from(value))
    }

    pub(super) fn sum(&mut self, a: Real, b: Real) -> Result<Real, Stop> {
        if let Some((x, y)) = self.both(a, b) {
            let (x, y) = (x.clone(), y.clone());
            self.pay(&x, &y)?;
            return self.rational(x + y);
        }
        match (self.is_rational(a, 0), self.is_rational(b, 0)) {
            (true, _) => Ok(b),
            (_, true) => Ok(a),
            _ => self.insert(Node::Sum(a.min(b), a.max(b))),
        }
    }

    pub(super) fn product(&mut self, a: Real, b: Real) -> Result<Real, Stop> {
        if let Some((x, y)) = self.both(a, b) {
            let (x, y) = (x.clone(), y.clone());
            self.pay(&x, &y)?;
            return self.rational(x * y);
        }
        if self.is_rational(a, 0) || self.is_rational(b, 1) {
            return Ok(a);
        }
        if self.is_rational(b, 0) || self.is_rational(a, 1) {
            return Ok(b);
        }
        self.insert(Node::Product(a.min(b), a.max(b)))
    }

    pub(super) fn negative(&mut self, a: Real) -> Result<Real, Stop> {
        let minus_one = self.integer(-1)?;
        self.product(minus_one, a)
    }

    pub(super) fn difference(&mut self, a: Real, b: Real) -> Result<Real, Stop> {
        if a == b {
            return self.integer(0);
        }
        let minus_b = self.negative(b)?;
        self.sum(a, minus_b)
    }

    /// `a / b`; undefined if b is zero.
    pub(super) fn quotient(&mut self, a: Real, b: Real) -> Result<Real, Stop> {
        if self.sign(b)? == Sign::Zero {
            return Err(Stop::Undefined);
        }
        if let Some((x, y)) = self.both(a, b) {
            let (x, y) = (x.clone(), y.clone());
            self.pay(&x, &y)?;
            return self.rational(x / y);
        }
        if self.is_rational(b, 1) || self.is_rational(a, 0) {
            return Ok(a);
        }
        self.insert(Node::Quotient(a, b))
    }

    /// The `degree`-th root, real: of a negative number only for odd degrees, else undefined.
    pub(super) fn root(&mut self, degree: u32, x: Real) -> Result<Real, Stop> {
        if degree == 0 || degree > LARGEST_DEGREE {
            return Err(Stop::Unsupported);
        }
        match self.sign(x)? {
            Sign::Zero => return self.integer(0),
            Sign::Negative if degree.is_multiple_of(2) => return Err(Stop::Undefined),
            Sign::Negative => {
                let positive = self.negative(x)?;
                let root = self.root(degree, positive)?;
                return self.negative(root);
            }
            Sign::Positive => {}
        }
        let Some(value) = self.as_rational(x).cloned() else {
            return self.insert(Node::Root(degree, x));
        };
        // root(p / q) = root(p q^(k-1)) / q, and whole powers come out: the radicals left are few and shared.
        let power = u64::from(degree - 1);
        self.meter.multiply(value.numer().bits(), value.denom().bits() * power)?;
        let whole = value.numer() * value.denom().pow(degree - 1);
        let (outside, inside) = self.extract(whole, degree)?;
        let factor = self.rational(BigRational::new(outside, value.denom().clone()))?;
        if inside.is_one() {
            return Ok(factor);
        }
        let inside = self.rational(BigRational::from_integer(inside))?;
        let root = self.insert(Node::Root(degree, inside))?;
        self.product(factor, root)
    }

    /// `(a, b)` with `a^degree b = n`; b is freed of the powers of small primes and is 1 if n is a whole power.
    fn extract(&mut self, mut n: BigInt, degree: u32) -> Result<(BigInt, BigInt), Stop> {
        self.meter.multiply(n.bits(), n.bits())?;
        let whole = n.nth_root(degree);
        if whole.pow(degree) == n {
            return Ok((whole, BigInt::one()));
        }
        let mut outside = BigInt::one();
        for prime in (2u32..200).filter(|&p| (2..p).take_while(|d| d * d <= p).all(|d| p % d != 0)) {
            let step = BigInt::from(prime).pow(degree);
            if step > n {
                break;
            }
            self.meter.spend(n.bits() / 64 + 1)?;
            while n.is_multiple_of(&step) {
                n /= &step;
                outside *= prime;
            }
        }
        Ok((outside, n))
    }

    /// A whole power by repeated squaring; a negative power of zero is undefined.
    pub(super) fn power(&mut self, x: Real, exponent: &BigInt) -> Result<Real, Stop> {
        let Some(mut left) = exponent.abs().to_u64() else {
            return match self.as_rational(x) {
                Some(r) if r.is_one() => Ok(x),
                Some(r) if r.is_zero() && exponent.is_positive() => Ok(x),
                _ => Err(Stop::Budget),
            };
        };
        if let Some(value) = self.as_rational(x).cloned() {
            // A power of a reduced fraction is reduced.
            let bits = size(&value).saturating_mul(left);
            self.meter.multiply(bits, bits)?;
            let power = u32::try_from(left).map_err(|_| Stop::Budget)?;
            let (above, below) = (value.numer().pow(power), value.denom().pow(power));
            let result = match exponent.is_negative() {
                true if above.is_zero() => return Err(Stop::Undefined),
                true if above.is_negative() => BigRational::new_raw(-below, -above),
                true => BigRational::new_raw(below, above),
                false => BigRational::new_raw(above, below),
            };
            return self.rational(result);
        }
        let mut result = self.integer(1)?;
        let mut square = x;
        while left > 0 {
            if left & 1 == 1 {
                result = self.product(result, square)?;
            }
            left >>= 1;
            if left > 0 {
                square = self.product(square, square)?;
            }
        }
        if exponent.is_negative() {
            let one = self.integer(1)?;
            return self.quotient(one, result);
        }
        Ok(result)
    }

    /// An elementary function. The logarithm is undefined at zero and below.
    pub(super) fn apply(&mut self, function: Series, x: Real) -> Result<Real, Stop> {
        if function == Series::Ln && self.sign(x)? != Sign::Positive {
            return Err(Stop::Undefined);
        }
        match function {
            Series::Exp | Series::Cos if self.is_rational(x, 0) => self.integer(1),
            Series::Sin | Series::Arctan if self.is_rational(x, 0) => self.integer(0),
            Series::Ln if self.is_rational(x, 1) => self.integer(0),
            _ => self.insert(Node::Apply(function, x)),
        }
    }

    pub(super) fn sign(&mut self, x: Real) -> Result<Sign, Stop> {
        if let Some(value) = self.as_rational(x) {
            return Ok(if value.is_zero() {
                Sign::Zero
            } else if value.is_positive() {
                Sign::Positive
            } else {
                Sign::Negative
            });
        }
        let reachable = self.reachable(x);
        let zero_bits = self.separation_bits(&reachable, x);
        let mut bits = 64;
        loop {
            if let Some(ball) = self.evaluate(&reachable, x, bits)? {
                if ball.is_positive() {
                    return Ok(Sign::Positive);
                }
                if ball.is_negative() {
                    return Ok(Sign::Negative);
                }
                let shown = bits.saturating_sub(ball.radius.bits() + 1);
                if shown > zero_bits {
                    return Ok(Sign::Zero);
                }
            }
            // Straight to the precision that will decide once the first guesses were in vain.
            bits = if bits < 256 { bits * 2 } else { (bits * 2).max(zero_bits.saturating_add(128)) };
            if bits > FINEST_BITS {
                return Err(Stop::Budget);
            }
        }
    }

    /// The nodes under `x`, operands first.
    fn reachable(&self, x: Real) -> Vec<usize> {
        let mut wanted = vec![false; x.0 + 1];
        wanted[x.0] = true;
        for at in (0..=x.0).rev() {
            if !wanted[at] {
                continue;
            }
            match self.nodes[at] {
                Node::Sum(a, b) | Node::Product(a, b) | Node::Quotient(a, b) => {
                    wanted[a.0] = true;
                    wanted[b.0] = true;
                }
                Node::Root(_, a) | Node::Apply(_, a) => wanted[a.0] = true,
                Node::Rational(_) | Node::Pi => {}
            }
        }
        (0..=x.0).filter(|&at| wanted[at]).collect()
    }

    /// How many bits below one a number of this form lies at least, unless it is zero.
    fn separation_bits(&self, reachable: &[usize], x: Real) -> u64 {
        // Upper bounds of log2 of the paper's u and l, a pair for each node.
        let mut bounds: HashMap<usize, (u64, u64)> = HashMap::new();
        let mut degree: u64 = 1;
        for &at in reachable {
            let bound = |real: Real| bounds.get(&real.0).copied().unwrap_or((u64::MAX, u64::MAX));
            let pair = match &self.nodes[at] {
                Node::Rational(value) => (value.numer().bits(), value.denom().bits()),
                Node::Sum(a, b) => {
                    let ((ua, la), (ub, lb)) = (bound(*a), bound(*b));
                    let largest = ua.saturating_add(lb).max(la.saturating_add(ub));
                    (largest.saturating_add(1), la.saturating_add(lb))
                }
                Node::Product(a, b) => {
                    let ((ua, la), (ub, lb)) = (bound(*a), bound(*b));
                    (ua.saturating_add(ub), la.saturating_add(lb))
                }
                Node::Quotient(a, b) => {
                    let ((ua, la), (ub, lb)) = (bound(*a), bound(*b));
                    (ua.saturating_add(lb), la.saturating_add(ub))
                }
                Node::Root(k, a) => {
                    degree = degree.saturating_mul(u64::from(*k));
                    let ((u, l), k) = (bound(*a), u64::from(*k));
                    let mixed =
                        |first: u64, more: u64| first.saturating_add(more.saturating_mul(k - 1)).div_ceil(k);
                    if u >= l { (mixed(u, l), l) } else { (u, mixed(l, u)) }
                }
                Node::Pi | Node::Apply(..) => return AGREEMENT_BITS,
            };
            bounds.insert(at, pair);
        }
        let (u, l) = bounds.get(&x.0).copied().unwrap_or((u64::MAX, u64::MAX));
        u.saturating_mul(degree - 1).saturating_add(l)
    }

    /// A ball around the number; `None` if this precision can't tell a divisor or a logarithm's argument from zero.
    fn evaluate(&mut self, reachable: &[usize], x: Real, bits: u64) -> Result<Option<Ball>, Stop> {
        let mut balls: HashMap<usize, Ball> = HashMap::with_capacity(reachable.len());
        for &at in reachable {
            // What a step costs depends on how large the numbers have become, not only on how fine they are.
            let length = |real: &Real| balls.get(&real.0).map_or(0, |ball| ball.middle.bits().max(bits));
            match &self.nodes[at] {
                Node::Rational(value) => self.meter.multiply(size(value), bits)?,
                Node::Sum(a, b) => self.meter.spend((length(a).max(length(b))) / 64 + 1)?,
                Node::Product(a, b) => self.meter.multiply(2 * length(a), 2 * length(b))?,
                Node::Quotient(a, b) => {
                    self.meter.multiply(2 * (length(a) + bits), 2 * length(b).max(bits))?;
                }
                Node::Root(k, a) => {
                    let inside = length(a) + bits * u64::from(*k - 1);
                    self.meter.multiply(inside, inside)?;
                    self.meter.multiply(6 * inside, 6 * inside)?;
                }
                Node::Pi => self.meter.spend((bits / 64 + 1) * bits)?,
                Node::Apply(_, a) => {
                    let size = 2 * length(a) + bits;
                    self.meter.multiply(size, size)?;
                    self.meter.spend(8 * (size / 64 + 1) * (size / 64 + 1) * (bits / 16 + 1))?;
                }
            }
            let get = |real: &Real| balls.get(&real.0);
            let ball = match &self.nodes[at] {
                Node::Rational(value) => Some(Ball::rational(value, bits)),
                Node::Sum(a, b) => get(a).zip(get(b)).map(|(a, b)| a.plus(b)),
                Node::Product(a, b) => get(a).zip(get(b)).map(|(a, b)| a.times(b, bits)),
                Node::Quotient(a, b) => get(a).zip(get(b)).and_then(|(a, b)| a.over(b, bits)),
                Node::Root(k, a) => get(a).and_then(|a| a.root(*k, bits)),
                Node::Pi => Some(series::pi(bits)),
                Node::Apply(function, a) => get(a).and_then(|a| match function {
                    Series::Exp => series::exp(a, bits),
                    Series::Ln => series::ln(a, bits),
                    Series::Sin => series::sin_cos(a, bits).map(|(sin, _)| sin),
                    Series::Cos => series::sin_cos(a, bits).map(|(_, cos)| cos),
                    Series::Arctan => series::arctan(a, bits),
                }),
            };
            match ball {
                Some(ball) => balls.insert(at, ball),
                None => return Ok(None),
            };
        }
        Ok(balls.remove(&x.0))
    }
}

fn size(value: &BigRational) -> u64 {
    value.numer().bits() + value.denom().bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_of(build: impl FnOnce(&mut Reals<'_>) -> Result<Real, Stop>) -> Result<Sign, Stop> {
        let mut meter = Meter::new(50_000_000);
        let mut reals = Reals::new(&mut meter);
        let x = build(&mut reals)?;
        reals.sign(x)
    }

    fn sqrt(reals: &mut Reals<'_>, n: i64) -> Result<Real, Stop> {
        let n = reals.integer(n)?;
        reals.root(2, n)
    }

    #[test]
    fn nested_radicals_are_decided_exactly() {
        // sqrt(5 + 2 sqrt 6) = sqrt 2 + sqrt 3
        let zero = sign_of(|r| {
            let (two, three, six) = (sqrt(r, 2)?, sqrt(r, 3)?, sqrt(r, 6)?);
            let right = r.sum(two, three)?;
            let double = r.sum(six, six)?;
            let five = r.integer(5)?;
            let inside = r.sum(five, double)?;
            let left = r.root(2, inside)?;
            r.difference(left, right)
        });
        assert_eq!(zero, Ok(Sign::Zero));
    }

    #[test]
    fn near_misses_are_told_from_zero() {
        // sqrt(n^2 + 1) - n for n = 10^30 is 5e-31.
        let positive = sign_of(|r| {
            let n = BigInt::from(10).pow(30);
            let square = r.rational(BigRational::from_integer(&n * &n + 1))?;
            let root = r.root(2, square)?;
            let n = r.rational(BigRational::from_integer(n))?;
            r.difference(root, n)
        });
        assert_eq!(positive, Ok(Sign::Positive));
        // 355/113 - pi is 2.7e-7; 22/7 above pi.
        let pi_bound = |n: i64, d: i64| {
            sign_of(move |r| {
                let ratio = r.rational(BigRational::new(n.into(), d.into()))?;
                let pi = r.pi()?;
                r.difference(pi, ratio)
            })
        };
        assert_eq!(pi_bound(355, 113), Ok(Sign::Negative));
        assert_eq!(pi_bound(333, 106), Ok(Sign::Positive));
    }

    #[test]
    fn functions_at_special_angles_agree_with_their_values() {
        // cos(pi / 3) = 1 / 2
        let zero = sign_of(|r| {
            let (pi, three) = (r.pi()?, r.integer(3)?);
            let angle = r.quotient(pi, three)?;
            let cos = r.apply(Series::Cos, angle)?;
            let half = r.rational(BigRational::new(1.into(), 2.into()))?;
            r.difference(cos, half)
        });
        assert_eq!(zero, Ok(Sign::Zero));
    }

    #[test]
    fn the_undefined_and_the_endless_end() {
        let divide = sign_of(|r| {
            let (a, b) = (sqrt(r, 2)?, sqrt(r, 8)?);
            let double = r.sum(a, a)?;
            let zero = r.difference(double, b)?;
            r.quotient(a, zero)
        });
        assert_eq!(divide, Err(Stop::Undefined));
        let huge = sign_of(|r| {
            let nine = r.integer(9)?;
            r.power(nine, &BigInt::from(387_420_489))
        });
        assert_eq!(huge, Err(Stop::Budget));
        // Twenty independent radicals: the bound needs 2^20 times the bits.
        let many = sign_of(|r| {
            let mut sum = r.integer(0)?;
            let mut again = r.integer(0)?;
            let primes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71];
            for n in primes {
                let root = sqrt(r, n)?;
                sum = r.sum(sum, root)?;
            }
            for n in primes.into_iter().rev() {
                let root = sqrt(r, n)?;
                again = r.sum(again, root)?;
            }
            r.difference(sum, again)
        });
        assert_eq!(many, Err(Stop::Budget));
    }
}
