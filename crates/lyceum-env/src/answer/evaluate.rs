//! The exact value of an expression at a point.

use std::collections::HashMap;

use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::expression::{Constant, Expression, Function};
use super::meter::Stop;
use super::real::{Real, Reals, Series, Sign};

/// Largest factorial and binomial that are multiplied out.
const LARGEST_FACTORIAL: u64 = 2_000;

/// A complex number with exact parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Complex {
    pub(super) re: Real,
    pub(super) im: Real,
}

/// What letters stand for. Without `values`, pi, e and the degree are letters too.
pub(super) struct Point {
    pub(super) letters: HashMap<String, BigRational>,
    pub(super) values: bool,
}

/// The keys of constants in [`Point::letters`]; no letter of an answer is called so.
pub(super) fn key(constant: Constant) -> &'static str {
    match constant {
        Constant::Pi => "#pi",
        Constant::E => "#e",
        Constant::I => "#i",
        Constant::Infinity => "#infinity",
        Constant::Degree => "#degree",
    }
}

/// Evaluates expressions at one point.
pub(super) struct Evaluator<'p, 'm> {
    pub(super) point: &'p Point,
    pub(super) reals: Reals<'m>,
}

type Value = Result<Complex, Stop>;

impl Evaluator<'_, '_> {
    pub(super) fn value(&mut self, expression: &Expression) -> Value {
        match expression {
            Expression::Number(value) => {
                let re = self.reals.rational(value.0.clone())?;
                self.real(re)
            }
            Expression::Letter(name) => self.letter(name),
            Expression::Constant(constant) => self.constant(*constant),
            Expression::Sum(parts) => {
                let mut sum = self.integer(0)?;
                for part in parts {
                    let value = self.value(part)?;
                    sum = self.sum(sum, value)?;
                }
                Ok(sum)
            }
            Expression::Product(parts) => {
                let mut product = self.integer(1)?;
                for part in parts {
                    let value = self.value(part)?;
                    product = self.product(product, value)?;
                }
                Ok(product)
            }
            Expression::Negative(a) => {
                let value = self.value(a)?;
                self.negative(value)
            }
            Expression::Quotient(a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                self.quotient(a, b)
            }
            Expression::Power(base, exponent) => self.power(base, exponent),
            Expression::Root(degree, radicand) => {
                let degree = self.whole(degree)?.to_u32().ok_or(Stop::Unsupported)?;
                let radicand = self.value(radicand)?;
                self.root(degree, radicand)
            }
            Expression::Call(function, arguments) => self.call(*function, arguments),
            Expression::PlusMinus(..) => Err(Stop::Unsupported),
        }
    }

    fn real(&mut self, re: Real) -> Value {
        Ok(Complex { re, im: self.reals.integer(0)? })
    }

    fn integer(&mut self, value: i64) -> Value {
        let re = self.reals.integer(value)?;
        self.real(re)
    }

    fn letter(&mut self, name: &str) -> Value {
        let value = self.point.letters.get(name).ok_or(Stop::Unsupported)?.clone();
        let re = self.reals.rational(value)?;
        self.real(re)
    }

    fn constant(&mut self, constant: Constant) -> Value {
        match constant {
            Constant::I => Ok(Complex { re: self.reals.integer(0)?, im: self.reals.integer(1)? }),
            Constant::Pi if self.point.values => {
                let pi = self.reals.pi()?;
                self.real(pi)
            }
            Constant::Degree if self.point.values => {
                let (pi, turn) = (self.reals.pi()?, self.reals.integer(180)?);
                let degree = self.reals.quotient(pi, turn)?;
                self.real(degree)
            }
            Constant::E if self.point.values => {
                let one = self.reals.integer(1)?;
                let e = self.reals.apply(Series::Exp, one)?;
                self.real(e)
            }
            letter => self.letter(key(letter)),
        }
    }

    fn is_real(&mut self, z: Complex) -> Result<bool, Stop> {
        Ok(self.reals.sign(z.im)? == Sign::Zero)
    }

    fn real_part(&mut self, z: Complex) -> Result<Real, Stop> {
        if self.is_real(z)? { Ok(z.re) } else { Err(Stop::Unsupported) }
    }

    /// A value that must be a whole number.
    fn whole(&mut self, expression: &Expression) -> Result<BigInt, Stop> {
        let value = self.value(expression)?;
        let re = self.real_part(value)?;
        match self.reals.as_rational(re) {
            Some(value) if value.is_integer() => Ok(value.numer().clone()),
            _ => Err(Stop::Unsupported),
        }
    }

    pub(super) fn sum(&mut self, a: Complex, b: Complex) -> Value {
        Ok(Complex { re: self.reals.sum(a.re, b.re)?, im: self.reals.sum(a.im, b.im)? })
    }

    pub(super) fn negative(&mut self, a: Complex) -> Value {
        Ok(Complex { re: self.reals.negative(a.re)?, im: self.reals.negative(a.im)? })
    }

    pub(super) fn difference(&mut self, a: Complex, b: Complex) -> Value {
        Ok(Complex { re: self.reals.difference(a.re, b.re)?, im: self.reals.difference(a.im, b.im)? })
    }

    pub(super) fn product(&mut self, a: Complex, b: Complex) -> Value {
        let reals = &mut self.reals;
        let (rr, ii) = (reals.product(a.re, b.re)?, reals.product(a.im, b.im)?);
        let (ri, ir) = (reals.product(a.re, b.im)?, reals.product(a.im, b.re)?);
        Ok(Complex { re: reals.difference(rr, ii)?, im: reals.sum(ri, ir)? })
    }

    fn quotient(&mut self, a: Complex, b: Complex) -> Value {
        if self.is_real(b)? {
            return Ok(Complex {
                re: self.reals.quotient(a.re, b.re)?,
                im: self.reals.quotient(a.im, b.re)?,
            });
        }
        let conjugate = Complex { re: b.re, im: self.reals.negative(b.im)? };
        let square = self.product(b, conjugate)?;
        let above = self.product(a, conjugate)?;
        Ok(Complex {
            re: self.reals.quotient(above.re, square.re)?,
            im: self.reals.quotient(above.im, square.re)?,
        })
    }

    /// Whether two values are equal. Rational ones are by being the same node, without a subtraction.
    pub(super) fn is_same(&mut self, a: Complex, b: Complex) -> Result<bool, Stop> {
        let all_rational = [a.re, a.im, b.re, b.im].iter().all(|&x| self.reals.as_rational(x).is_some());
        if all_rational {
            return Ok(a.re == b.re && a.im == b.im);
        }
        let gap = self.difference(a, b)?;
        self.is_zero(gap)
    }

    fn is_zero(&mut self, z: Complex) -> Result<bool, Stop> {
        Ok(self.reals.sign(z.re)? == Sign::Zero && self.reals.sign(z.im)? == Sign::Zero)
    }

    /// Real roots where there are any (so the cube root of -8 is -2), else the principal square root.
    fn root(&mut self, degree: u32, z: Complex) -> Value {
        if self.is_real(z)? {
            if self.reals.sign(z.re)? == Sign::Negative && degree.is_multiple_of(2) {
                if degree != 2 {
                    return Err(Stop::Unsupported);
                }
                let positive = self.reals.negative(z.re)?;
                return Ok(Complex { re: self.reals.integer(0)?, im: self.reals.root(2, positive)? });
            }
            let re = self.reals.root(degree, z.re)?;
            return self.real(re);
        }
        if degree != 2 {
            return Err(Stop::Unsupported);
        }
        // sqrt(a + bi) = sqrt((r + a) / 2) + sign(b) i sqrt((r - a) / 2), r = |a + bi|
        let modulus = self.modulus(z)?;
        let reals = &mut self.reals;
        let half = reals.rational(BigRational::new(1.into(), 2.into()))?;
        let (above, below) = (reals.sum(modulus, z.re)?, reals.difference(modulus, z.re)?);
        let (above, below) = (reals.product(half, above)?, reals.product(half, below)?);
        let (re, im) = (reals.root(2, above)?, reals.root(2, below)?);
        let im = if reals.sign(z.im)? == Sign::Negative { reals.negative(im)? } else { im };
        Ok(Complex { re, im })
    }

    fn modulus(&mut self, z: Complex) -> Result<Real, Stop> {
        if self.is_real(z)? {
            return match self.reals.sign(z.re)? {
                Sign::Negative => self.reals.negative(z.re),
                _ => Ok(z.re),
            };
        }
        let (a, b) = (self.reals.product(z.re, z.re)?, self.reals.product(z.im, z.im)?);
        let square = self.reals.sum(a, b)?;
        self.reals.root(2, square)
    }

    fn whole_power(&mut self, base: Complex, exponent: &BigInt) -> Value {
        if self.reals.as_rational(base.im).is_some_and(Zero::is_zero) {
            let re = self.reals.power(base.re, exponent)?;
            return self.real(re);
        }
        let mut left = exponent.abs().to_u32().ok_or(Stop::Budget)?;
        let mut result = self.integer(1)?;
        let mut square = base;
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

    fn power(&mut self, base: &Expression, exponent: &Expression) -> Value {
        let y = self.value(exponent)?;
        let rational = self.reals.as_rational(y.im).is_some_and(Zero::is_zero);
        let rational = if rational { self.reals.as_rational(y.re).cloned() } else { None };
        let is_e = *base == Expression::Constant(Constant::E);
        match rational {
            Some(y) if y.is_integer() => {
                let x = self.value(base)?;
                self.whole_power(x, y.numer())
            }
            Some(y) if !(is_e && self.point.values) => {
                let degree = y.denom().to_u32().ok_or(Stop::Unsupported)?;
                let x = self.value(base)?;
                let root = self.root(degree, x)?;
                self.whole_power(root, y.numer())
            }
            _ if is_e && self.point.values => self.exponential(y),
            _ => {
                let x = self.value(base)?;
                let x = self.real_part(x)?;
                let logarithm = self.reals.apply(Series::Ln, x)?;
                let logarithm = self.real(logarithm)?;
                let product = self.product(y, logarithm)?;
                self.exponential(product)
            }
        }
    }

    /// e^(a + bi) = e^a (cos b + i sin b)
    fn exponential(&mut self, z: Complex) -> Value {
        let size = self.reals.apply(Series::Exp, z.re)?;
        if self.is_real(z)? {
            return self.real(size);
        }
        let (cos, sin) = (self.reals.apply(Series::Cos, z.im)?, self.reals.apply(Series::Sin, z.im)?);
        Ok(Complex { re: self.reals.product(size, cos)?, im: self.reals.product(size, sin)? })
    }

    fn call(&mut self, function: Function, arguments: &[Expression]) -> Value {
        match (function, arguments) {
            (Function::Factorial, [n]) => {
                let n = self.whole(n)?;
                let n = self.small(&n)?;
                let product = (1..=n).fold(BigInt::one(), |product, factor| product * factor);
                self.rational(BigRational::from_integer(product))
            }
            (Function::Binomial, [n, k]) => {
                let (n, k) = (self.whole(n)?, self.whole(k)?);
                let (n, k) = (self.small(&n)?, self.small(&k)?);
                let mut result = if k > n { BigInt::zero() } else { BigInt::one() };
                for i in 0..k.min(n.saturating_sub(k)) {
                    result = result * (n - i) / (i + 1);
                }
                self.rational(BigRational::from_integer(result))
            }
            (Function::Gcd | Function::Lcm, [first, rest @ ..]) => {
                let mut result = self.whole(first)?;
                for next in rest {
                    let next = self.whole(next)?;
                    result = if function == Function::Gcd { result.gcd(&next) } else { result.lcm(&next) };
                }
                self.rational(BigRational::from_integer(result))
            }
            (Function::Min | Function::Max, [first, rest @ ..]) => {
                let mut best = self.value(first)?;
                for next in rest {
                    let next = self.value(next)?;
                    let gap = self.difference(next, best)?;
                    let gap = self.real_part(gap)?;
                    let wanted = if function == Function::Min { Sign::Negative } else { Sign::Positive };
                    if self.reals.sign(gap)? == wanted {
                        best = next;
                    }
                }
                Ok(best)
            }
            (Function::Log, [argument]) => self.logarithm(&Expression::integer(10), argument),
            (Function::Log, [base, argument]) => self.logarithm(base, argument),
            (Function::Absolute, [argument]) => {
                let z = self.value(argument)?;
                let modulus = self.modulus(z)?;
                self.real(modulus)
            }
            (Function::Exp, [argument]) => {
                let z = self.value(argument)?;
                self.exponential(z)
            }
            (_, [argument]) => {
                let z = self.value(argument)?;
                let x = self.real_part(z)?;
                let value = self.real_function(function, x)?;
                self.real(value)
            }
            _ => Err(Stop::Unsupported),
        }
    }

    fn rational(&mut self, value: BigRational) -> Value {
        let re = self.reals.rational(value)?;
        self.real(re)
    }

    fn small(&mut self, n: &BigInt) -> Result<u64, Stop> {
        if n.is_negative() {
            return Err(Stop::Undefined);
        }
        n.to_u64().filter(|&n| n <= LARGEST_FACTORIAL).ok_or(Stop::Budget)
    }

    fn logarithm(&mut self, base: &Expression, argument: &Expression) -> Value {
        let (base, argument) = (self.value(base)?, self.value(argument)?);
        let (base, argument) = (self.real_part(base)?, self.real_part(argument)?);
        let (below, above) = (self.reals.apply(Series::Ln, base)?, self.reals.apply(Series::Ln, argument)?);
        let value = self.reals.quotient(above, below)?;
        self.real(value)
    }

    fn real_function(&mut self, function: Function, x: Real) -> Result<Real, Stop> {
        let reals = &mut self.reals;
        let one = reals.integer(1)?;
        match function {
            Function::Sin => reals.apply(Series::Sin, x),
            Function::Cos => reals.apply(Series::Cos, x),
            Function::Tan | Function::Cot => {
                let (sin, cos) = (reals.apply(Series::Sin, x)?, reals.apply(Series::Cos, x)?);
                if function == Function::Tan { reals.quotient(sin, cos) } else { reals.quotient(cos, sin) }
            }
            Function::Sec => {
                let cos = reals.apply(Series::Cos, x)?;
                reals.quotient(one, cos)
            }
            Function::Csc => {
                let sin = reals.apply(Series::Sin, x)?;
                reals.quotient(one, sin)
            }
            Function::Arctan => reals.apply(Series::Arctan, x),
            Function::Arcsin => arcsine(reals, x),
            Function::Arccos => {
                let two = reals.integer(2)?;
                let pi = reals.pi()?;
                let right = reals.quotient(pi, two)?;
                let arcsin = arcsine(reals, x)?;
                reals.difference(right, arcsin)
            }
            Function::Sinh | Function::Cosh | Function::Tanh => {
                let minus = reals.negative(x)?;
                let (up, down) = (reals.apply(Series::Exp, x)?, reals.apply(Series::Exp, minus)?);
                let (sum, difference) = (reals.sum(up, down)?, reals.difference(up, down)?);
                let two = reals.integer(2)?;
                match function {
                    Function::Sinh => reals.quotient(difference, two),
                    Function::Cosh => reals.quotient(sum, two),
                    _ => reals.quotient(difference, sum),
                }
            }
            Function::Ln => reals.apply(Series::Ln, x),
            Function::Floor | Function::Ceiling => {
                let value = reals.as_rational(x).ok_or(Stop::Unsupported)?;
                let whole = if function == Function::Floor { value.floor() } else { value.ceil() };
                reals.rational(whole)
            }
            _ => Err(Stop::Unsupported),
        }
    }
}

/// arcsin x = arctan(x / sqrt(1 - x^2)), a right angle at the ends.
fn arcsine(reals: &mut Reals<'_>, x: Real) -> Result<Real, Stop> {
    let one = reals.integer(1)?;
    let square = reals.product(x, x)?;
    let rest = reals.difference(one, square)?;
    if reals.sign(rest)? == Sign::Zero {
        let (pi, half) = (reals.pi()?, reals.rational(BigRational::new(1.into(), 2.into()))?);
        let right = reals.product(pi, half)?;
        return reals.product(x, right);
    }
    let root = reals.root(2, rest)?;
    let tangent = reals.quotient(x, root)?;
    reals.apply(Series::Arctan, tangent)
}
