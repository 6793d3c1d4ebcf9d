//! A chain of operations on an integer.

use std::fmt;

use crate::task::Problem;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Adds.
    Plus,
    /// Subtracts.
    Minus,
    /// Multiplies.
    Times,
}

impl Operator {
    pub(super) fn from_symbol(symbol: char) -> Option<Self> {
        match symbol {
            '+' => Some(Self::Plus),
            '-' => Some(Self::Minus),
            '*' => Some(Self::Times),
            _ => None,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
        })
    }
}

/// A start number and the steps that follow, left to right. Its `Display` is the question's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The number to start with.
    pub start: i64,
    /// Operator and operand of each step.
    pub steps: Vec<(Operator, i64)>,
    /// Results are taken modulo this; 0 for plain integers.
    pub modulus: i64,
}

impl Chain {
    /// One step. Saturates instead of overflowing, which no generated chain does.
    #[must_use]
    pub fn apply(&self, value: i64, operator: Operator, operand: i64) -> i64 {
        let result = match operator {
            Operator::Plus => value.saturating_add(operand),
            Operator::Minus => value.saturating_sub(operand),
            Operator::Times => value.saturating_mul(operand),
        };
        if self.modulus > 0 { result.rem_euclid(self.modulus) } else { result }
    }

    /// The result of all steps.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.steps.iter().fold(self.start, |value, &(operator, operand)| self.apply(value, operator, operand))
    }

    /// The chain that a problem of the task asks about; `None` for a problem of another task.
    #[must_use]
    pub fn of(problem: &Problem) -> Option<Self> {
        let question = problem.meta.get("question")?.as_str()?;
        Self::parse(question, problem.meta.get("modulus")?.as_i64()?)
    }

    /// Reads a question such as `37 +5 *3`.
    #[must_use]
    pub fn parse(question: &str, modulus: i64) -> Option<Self> {
        let mut words = question.split_whitespace();
        let start = words.next()?.parse().ok()?;
        let step = |word: &str| {
            let operator = Operator::from_symbol(word.chars().next()?)?;
            Some((operator, word.get(1..)?.parse().ok()?))
        };
        Some(Self { start, steps: words.map(step).collect::<Option<_>>()?, modulus })
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.start)?;
        self.steps.iter().try_for_each(|(operator, operand)| write!(f, " {operator}{operand}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_modulo_left_to_right() {
        let chain = |modulus| Chain::parse("37 +5 *3 -41", modulus).unwrap();
        assert_eq!(chain(100).value(), 85);
        assert_eq!(chain(0).value(), 85);
        assert_eq!(Chain::parse("3 -5", 100).unwrap().value(), 98);
        assert_eq!(Chain::parse("3 -5", 0).unwrap().value(), -2);
    }

    #[test]
    fn questions_round_trip_and_nonsense_is_refused() {
        assert_eq!(Chain::parse("37 +5 *3 -41", 100).unwrap().to_string(), "37 +5 *3 -41");
        for text in ["", "x", "3 5", "3 +", "3 /5", "3 +é"] {
            assert_eq!(Chain::parse(text, 100), None, "{text}");
        }
    }
}
