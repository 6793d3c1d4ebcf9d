//! The syntax tree of a mathematical expression.

use std::collections::BTreeSet;

use num_rational::BigRational;

use super::exact::Exact;

/// A named number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Constant {
    Pi,
    E,
    /// The imaginary unit.
    I,
    Infinity,
    /// One degree of angle, pi / 180.
    Degree,
}

/// A function of one argument (the logarithm of two: base and argument).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Exp,
    Ln,
    /// To base ten, or to the base that is its first argument.
    Log,
    Absolute,
    Floor,
    Ceiling,
    Factorial,
    /// Of two arguments: n over k.
    Binomial,
    Gcd,
    Lcm,
    Min,
    Max,
}

/// An expression. Its depth is bounded by the parser, so that recursion over it is safe.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Number(Exact),
    Letter(String),
    Constant(Constant),
    Sum(Vec<Expression>),
    Product(Vec<Expression>),
    Negative(Box<Expression>),
    Quotient(Box<Expression>, Box<Expression>),
    Power(Box<Expression>, Box<Expression>),
    /// Degree and radicand.
    Root(Box<Expression>, Box<Expression>),
    Call(Function, Vec<Expression>),
    /// Plus or minus the operand; `false` for the minus-or-plus sign.
    PlusMinus(bool, Box<Expression>),
}

impl Expression {
    pub(super) fn integer(value: i64) -> Self {
        Self::rational(BigRational::from_integer(value.into()))
    }

    pub(super) fn rational(value: BigRational) -> Self {
        Self::Number(Exact(value))
    }

    fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_) | Self::Letter(_) | Self::Constant(_) => Vec::new(),
            Self::Sum(parts) | Self::Product(parts) | Self::Call(_, parts) => parts.iter().collect(),
            Self::Negative(a) | Self::PlusMinus(_, a) => vec![a],
            Self::Quotient(a, b) | Self::Power(a, b) | Self::Root(a, b) => vec![a, b],
        }
    }

    /// Whether this or something in it satisfies `test`.
    pub(super) fn any(&self, test: &impl Fn(&Self) -> bool) -> bool {
        test(self) || self.children().into_iter().any(|child| child.any(test))
    }

    /// The letters in it.
    pub(super) fn letters(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.visit(&mut |part| {
            if let Self::Letter(name) = part {
                found.insert(name.as_str());
            }
        });
        found
    }

    /// The letters that occur in an exponent or in a function that wants whole numbers.
    pub(super) fn whole_letters(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.visit(&mut |part| match part {
            Self::Power(_, exponent) => found.extend(exponent.letters()),
            Self::Call(
                Function::Factorial | Function::Binomial | Function::Gcd | Function::Lcm,
                arguments,
            ) => found.extend(arguments.iter().flat_map(Self::letters)),
            _ => {}
        });
        found
    }

    fn visit<'a>(&'a self, see: &mut impl FnMut(&'a Self)) {
        see(self);
        for child in self.children() {
            child.visit(see);
        }
    }

    /// Whether it has a value without any letter being given one.
    pub(super) fn is_constant(&self) -> bool {
        !self.any(&|part| matches!(part, Self::Letter(_)))
    }

    /// Whether a sign is left open.
    pub(super) fn has_plus_minus(&self) -> bool {
        self.any(&|part| matches!(part, Self::PlusMinus(..)))
    }

    /// With the upper signs taken, or the lower ones.
    pub(super) fn with_signs(&self, upper: bool) -> Self {
        let all = |parts: &[Self]| parts.iter().map(|part| part.with_signs(upper)).collect();
        let one = |part: &Self| Box::new(part.with_signs(upper));
        match self {
            Self::Number(_) | Self::Letter(_) | Self::Constant(_) => self.clone(),
            Self::Sum(parts) => Self::Sum(all(parts)),
            Self::Product(parts) => Self::Product(all(parts)),
            Self::Call(function, parts) => Self::Call(*function, all(parts)),
            Self::Negative(a) => Self::Negative(one(a)),
            Self::Quotient(a, b) => Self::Quotient(one(a), one(b)),
            Self::Power(a, b) => Self::Power(one(a), one(b)),
            Self::Root(a, b) => Self::Root(one(a), one(b)),
            Self::PlusMinus(plus_above, a) if *plus_above == upper => a.with_signs(upper),
            Self::PlusMinus(_, a) => Self::Negative(one(a)),
        }
    }

    /// Whether pi and e must stand for their values: inside functions and exponents. Elsewhere they can stand for
    /// any number, since no algebraic relation binds them, and the comparison is exact.
    pub(super) fn needs_values(&self) -> bool {
        self.any(&|part| match part {
            Self::Call(function, _) => {
                !matches!(function, Function::Factorial | Function::Binomial | Function::Gcd | Function::Lcm)
            }
            Self::Power(_, exponent) => {
                exponent.any(&|inner| matches!(inner, Self::Constant(_) | Self::Root(..) | Self::Power(..)))
            }
            _ => false,
        })
    }
}
