//! Whether two shapes say the same.

use num_rational::BigRational;
use num_traits::One;

use super::expression::{Constant, Expression};
use super::identity::Judge;
use super::meter::Stop;
use super::shape::{Shape, Side, in_base};
use super::unit::Unit;

type Verdict = Result<bool, Stop>;

impl Judge {
    /// Whether `a` and `b` are the same answer. Symmetric.
    pub(super) fn equal(&mut self, a: &Shape, b: &Shape) -> Verdict {
        self.meter.spend(32)?;
        if a == b {
            return Ok(true);
        }
        match (a, b) {
            (Shape::Quantity(x, u), Shape::Quantity(y, v)) => self.quantities((x, u), (y, v)),
            (Shape::Relation(sides, signs), Shape::Relation(others, theirs)) => {
                self.relations((sides, signs), (others, theirs))
            }
            (Shape::Relation(sides, signs), other) | (other, Shape::Relation(sides, signs)) => {
                match described(sides, signs) {
                    Some(shape) => self.equal(&shape, other),
                    None => Ok(false),
                }
            }
            (Shape::Set(xs), Shape::Set(ys))
            | (Shape::Set(xs), Shape::List(ys))
            | (Shape::List(xs), Shape::Set(ys)) => Ok(self.contained(xs, ys)? && self.contained(ys, xs)?),
            (Shape::Set(items), other) | (other, Shape::Set(items)) if items.len() == 1 => {
                self.equal(&items[0], other)
            }
            (Shape::List(xs) | Shape::Union(xs), Shape::List(ys) | Shape::Union(ys)) => {
                self.unordered(xs, ys)
            }
            (Shape::Tuple(open, xs, close), Shape::Tuple(other_open, ys, other_close)) => {
                Ok((open, close) == (other_open, other_close) && self.in_order(xs, ys)?)
            }
            // Items of a bare list in a tuple's order. Two items in square brackets are an interval, not a list.
            (Shape::Tuple(open, xs, close), Shape::List(ys))
            | (Shape::List(ys), Shape::Tuple(open, xs, close)) => {
                let is_list = (*open, *close) == ('(', ')') || (*open, *close) == ('[', ']') && xs.len() > 2;
                Ok(is_list && self.in_order(xs, ys)?)
            }
            (Shape::Matrix(rows), Shape::Matrix(others)) => self.matrices(rows, others),
            (Shape::Matrix(rows), Shape::Tuple(open, items, close))
            | (Shape::Tuple(open, items, close), Shape::Matrix(rows)) => {
                self.matrix_and_tuple(rows, *open, items, *close)
            }
            (Shape::Based(digits, base), Shape::Based(others, other_base)) => {
                Ok(in_base(digits, *base) == in_base(others, *other_base))
            }
            // The base was asked for: the same digits without it.
            (Shape::Based(digits, _), Shape::Quantity(value, unit))
            | (Shape::Quantity(value, unit), Shape::Based(digits, _)) => {
                let plain = in_base(digits, 10).map(Expression::rational);
                Ok(unit.is_none() && plain.is_some_and(|plain| plain == *value))
            }
            (Shape::Clock(minutes, said), Shape::Clock(others, others_said)) => {
                let half_open = |said: bool, minutes: u32| !said && minutes < 13 * 60;
                let open =
                    said != others_said && (half_open(*said, *minutes) || half_open(*others_said, *others));
                Ok(minutes == others || open && minutes % 720 == others % 720)
            }
            (Shape::Clock(minutes, false), other) | (other, Shape::Clock(minutes, false)) => {
                let parts = [minutes / 60, minutes % 60].map(|n| Expression::integer(n.into()));
                self.ratio(&parts, other)
            }
            (Shape::Ratio(parts), other) | (other, Shape::Ratio(parts)) => self.ratio(parts, other),
            _ => Ok(false),
        }
    }

    fn quantities(&mut self, (x, u): (&Expression, &Unit), (y, v): (&Expression, &Unit)) -> Verdict {
        let hundredth = |value: &Expression| {
            Expression::Quotient(Box::new(value.clone()), Box::new(Expression::integer(100)))
        };
        if u.percent != v.percent {
            // 28 % is 0.28; and it is the 28 that a question in percent asks for.
            let (percent, plain, unit) = if u.percent { (x, y, v) } else { (y, x, u) };
            if unit.is_known() {
                return Ok(false);
            }
            return Ok(self.same(percent, plain)? || self.same(&hundredth(percent), plain)?);
        }
        if u.is_known() && v.is_known() && !u.percent {
            if u.dimensions != v.dimensions && !(only_scaled(u) || only_scaled(v)) {
                return Ok(false);
            }
            return self.same(&scaled(x, &u.factor), &scaled(y, &v.factor));
        }
        if !u.things.is_empty()
            && !v.things.is_empty()
            && !u.things.iter().any(|thing| v.things.contains(thing))
        {
            return Ok(false);
        }
        // A bare number answers in the unit that was asked for; a scale (million) is part of the number.
        let factor = |unit: &Unit| if only_scaled(unit) { unit.factor.clone() } else { BigRational::one() };
        self.same(&scaled(x, &factor(u)), &scaled(y, &factor(v)))
    }

    fn in_order(&mut self, xs: &[Shape], ys: &[Shape]) -> Verdict {
        if xs.len() != ys.len() {
            return Ok(false);
        }
        for (x, y) in xs.iter().zip(ys) {
            if !self.equal(x, y)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Each of `xs` has its own equal in `ys`.
    fn unordered(&mut self, xs: &[Shape], ys: &[Shape]) -> Verdict {
        if xs.len() != ys.len() {
            return Ok(false);
        }
        let mut left: Vec<&Shape> = ys.iter().collect();
        for x in xs {
            let Some(at) = self.position(x, &left)? else { return Ok(false) };
            left.swap_remove(at);
        }
        Ok(true)
    }

    fn contained(&mut self, xs: &[Shape], ys: &[Shape]) -> Verdict {
        let ys: Vec<&Shape> = ys.iter().collect();
        for x in xs {
            if self.position(x, &ys)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn position(&mut self, wanted: &Shape, among: &[&Shape]) -> Result<Option<usize>, Stop> {
        for (at, candidate) in among.iter().enumerate() {
            if self.equal(wanted, candidate)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn matrices(&mut self, rows: &[Vec<Shape>], others: &[Vec<Shape>]) -> Verdict {
        if rows.len() != others.len() {
            return Ok(false);
        }
        for (row, other) in rows.iter().zip(others) {
            if !self.in_order(row, other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A column or row written as a point, and `[[1, 2], [3, 4]]`.
    fn matrix_and_tuple(&mut self, rows: &[Vec<Shape>], open: char, items: &[Shape], close: char) -> Verdict {
        let is_column = rows.iter().all(|row| row.len() == 1);
        if rows.len() == 1 || is_column {
            let entries = rows.concat();
            return Ok((open == '(') == (close == ')') && self.in_order(&entries, items)?);
        }
        let mut nested = Vec::new();
        for item in items {
            match item {
                Shape::Tuple('[', entries, ']') if (open, close) == ('[', ']') => {
                    nested.push(entries.clone());
                }
                _ => return Ok(false),
            }
        }
        self.matrices(rows, &nested)
    }

    /// Ratios are equal as proportions; one of two parts is also the quotient.
    fn ratio(&mut self, parts: &[Expression], other: &Shape) -> Verdict {
        match other {
            Shape::Ratio(others) => {
                if parts.len() != others.len() {
                    return Ok(false);
                }
                for at in 1..parts.len() {
                    let left = Expression::Product(vec![parts[0].clone(), others[at].clone()]);
                    let right = Expression::Product(vec![parts[at].clone(), others[0].clone()]);
                    if !self.same(&left, &right)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Shape::Quantity(value, unit) if unit.is_none() && parts.len() == 2 => {
                let [above, below] = [&parts[0], &parts[1]].map(|part| Box::new(part.clone()));
                self.same(&Expression::Quotient(above, below), value)
            }
            _ => Ok(false),
        }
    }

    fn relations(
        &mut self,
        (sides, signs): (&[Side], &[char]),
        (others, theirs): (&[Side], &[char]),
    ) -> Verdict {
        let (mine, yours) = (described(sides, signs), described(others, theirs));
        if let (Some(mine), Some(yours)) = (&mine, &yours) {
            let names = [sides, others].map(|sides| subject(sides));
            let agree = match names {
                [Some(a), Some(b)] => a == b,
                _ => true,
            };
            if agree && self.equal(mine, yours)? {
                return Ok(true);
            }
        }
        // As equations or inequalities they are equal if one is a multiple of the other.
        let (Some((f, sign)), Some((g, other_sign))) =
            (as_difference(sides, signs), as_difference(others, theirs))
        else {
            return Ok(false);
        };
        Ok(sign == other_sign && self.proportional(&f, &g, !matches!(sign, '=' | '≠'))?)
    }
}

/// Whether the unit is a bare scale such as million, so that it belongs to the number.
fn only_scaled(unit: &Unit) -> bool {
    unit.dimensions.is_empty() && !unit.percent
}

fn scaled(value: &Expression, factor: &BigRational) -> Expression {
    if factor.is_one() {
        return value.clone();
    }
    Expression::Product(vec![Expression::rational(factor.clone()), value.clone()])
}

/// The name that a relation is about.
fn subject(sides: &[Side]) -> Option<&str> {
    sides.iter().filter(|side| !matches!(side.shape, Shape::Text(_))).find_map(|side| side.name.as_deref())
}

/// What a relation says of its subject: `x = 5` five, `x ∈ S` the set, `-1 < x ≤ 3` the interval.
fn described(sides: &[Side], signs: &[char]) -> Option<Shape> {
    match (sides, signs) {
        (_, signs) if signs.iter().all(|sign| *sign == '=') => {
            let (first, last) = (sides.first()?, sides.last()?);
            let introduces = |side: &Side| {
                side.name.is_some() || matches!(side.shape, Shape::Text(_)) || is_name_tuple(&side.shape)
            };
            let calculation =
                |side: &Side| matches!(&side.shape, Shape::Quantity(value, _) if value.is_constant());
            if introduces(first) || calculation(first) && !introduces(last) {
                Some(last.shape.clone())
            } else if introduces(last) && sides.len() == 2 {
                Some(first.shape.clone())
            } else {
                None
            }
        }
        ([left, right], ['∈']) if left.name.is_some() => Some(right.shape.clone()),
        ([left, right], [sign]) if matches!(sign, '<' | '>' | '≤' | '≥') => {
            if left.name.is_some() && is_constant(&right.shape) {
                Some(half_line(*sign, &right.shape))
            } else if right.name.is_some() && is_constant(&left.shape) {
                Some(half_line(mirrored(*sign), &left.shape))
            } else {
                None
            }
        }
        ([low, middle, high], [first, second]) if middle.name.is_some() => {
            let (low, high, first, second) = match (first, second) {
                ('<' | '≤', '<' | '≤') => (low, high, *first, *second),
                ('>' | '≥', '>' | '≥') => (high, low, mirrored(*second), mirrored(*first)),
                _ => return None,
            };
            let open = if first == '<' { '(' } else { '[' };
            let close = if second == '<' { ')' } else { ']' };
            (is_constant(&low.shape) && is_constant(&high.shape))
                .then(|| Shape::Tuple(open, vec![low.shape.clone(), high.shape.clone()], close))
        }
        _ => None,
    }
}

fn is_constant(shape: &Shape) -> bool {
    matches!(shape, Shape::Quantity(value, _) if value.is_constant())
}

/// `(x, y)` on the left of an equation.
fn is_name_tuple(shape: &Shape) -> bool {
    let is_letter = |item: &Shape| matches!(item, Shape::Quantity(Expression::Letter(_), _));
    matches!(shape, Shape::Tuple(_, items, _) if items.iter().all(is_letter))
}

fn mirrored(sign: char) -> char {
    match sign {
        '<' => '>',
        '>' => '<',
        '≤' => '≥',
        '≥' => '≤',
        sign => sign,
    }
}

fn half_line(sign: char, bound: &Shape) -> Shape {
    let infinity = Expression::Constant(Constant::Infinity);
    let above = Shape::Quantity(infinity.clone(), Unit::none());
    let below = Shape::Quantity(Expression::Negative(Box::new(infinity)), Unit::none());
    match sign {
        '<' => Shape::Tuple('(', vec![below, bound.clone()], ')'),
        '≤' => Shape::Tuple('(', vec![below, bound.clone()], ']'),
        '>' => Shape::Tuple('(', vec![bound.clone(), above], ')'),
        _ => Shape::Tuple('[', vec![bound.clone(), above], ')'),
    }
}

/// A relation of two expressions as `difference sign 0` with the sign one of `= ≠ < ≤`.
fn as_difference(sides: &[Side], signs: &[char]) -> Option<(Expression, char)> {
    let ([left, right], [sign]) = (sides, signs) else { return None };
    let (Shape::Quantity(left, _), Shape::Quantity(right, _)) = (&left.shape, &right.shape) else {
        return None;
    };
    let (left, right, sign) = match sign {
        '>' | '≥' => (right, left, mirrored(*sign)),
        '∈' => return None,
        sign => (left, right, *sign),
    };
    Some((Expression::Sum(vec![left.clone(), Expression::Negative(Box::new(right.clone()))]), sign))
}
