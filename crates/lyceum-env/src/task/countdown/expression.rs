//! Exact evaluation of a plain arithmetic expression.

use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::Zero;

/// Longest expression that is looked at, in bytes.
const LONGEST: usize = 400;
/// Deepest nesting of brackets and signs.
const DEEPEST: usize = 40;

/// The value of an expression and the numbers in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The exact value.
    pub value: Ratio<BigInt>,
    /// The numbers as written, left to right.
    pub used: Vec<i64>,
}

/// Why a text is not an expression with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not an expression of numbers, `+ - * /` and brackets.
    Malformed,
    /// Longer or deeper than any honest answer.
    TooLarge,
    /// A division by zero.
    DividesByZero,
}

/// Evaluates numbers, `+ - * /` (also `× · ÷ −` and their LaTeX commands) and brackets. A final `= number` is allowed
/// if it is true.
///
/// # Errors
/// Says why there is no value.
pub fn evaluate(text: &str) -> Result<Evaluation, Refusal> {
    if text.len() > LONGEST {
        return Err(Refusal::TooLarge);
    }
    let mut plain = text.to_owned();
    for (foreign, own) in [("\\times", "*"), ("\\cdot", "*"), ("\\div", "/"), ("\\left", ""), ("\\right", "")]
    {
        plain = plain.replace(foreign, own);
    }
    let symbols = plain.chars().filter(|c| !c.is_whitespace()).map(|c| match c {
        '×' | '·' | '⋅' | '∗' => '*',
        '÷' | '∕' => '/',
        '−' | '–' => '-',
        '[' => '(',
        ']' => ')',
        c => c,
    });
    let symbols: Vec<char> = symbols.collect();
    let mut reader = Reader { symbols: &symbols, at: 0, depth: 0, used: Vec::new() };
    let value = reader.sum()?;
    let used = std::mem::take(&mut reader.used);
    if reader.take('=') && reader.number()? != value {
        return Err(Refusal::Malformed);
    }
    if reader.at != symbols.len() {
        return Err(Refusal::Malformed);
    }
    Ok(Evaluation { value, used })
}

struct Reader<'a> {
    symbols: &'a [char],
    at: usize,
    depth: usize,
    used: Vec<i64>,
}

impl Reader<'_> {
    fn take(&mut self, symbol: char) -> bool {
        let found = self.symbols.get(self.at) == Some(&symbol);
        self.at += usize::from(found);
        found
    }

    fn sum(&mut self) -> Result<Ratio<BigInt>, Refusal> {
        let mut value = self.product()?;
        loop {
            if self.take('+') {
                value += self.product()?;
            } else if self.take('-') {
                value -= self.product()?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Ratio<BigInt>, Refusal> {
        let mut value = self.factor()?;
        loop {
            if self.take('*') {
                value *= self.factor()?;
            } else if self.take('/') {
                let divisor = self.factor()?;
                if divisor.is_zero() {
                    return Err(Refusal::DividesByZero);
                }
                value /= divisor;
            } else {
                return Ok(value);
            }
        }
    }

    fn factor(&mut self) -> Result<Ratio<BigInt>, Refusal> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Refusal::TooLarge);
        }
        let value = if self.take('-') {
            -self.factor()?
        } else if self.take('(') {
            let inner = self.sum()?;
            if !self.take(')') {
                return Err(Refusal::Malformed);
            }
            inner
        } else {
            self.number()?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn number(&mut self) -> Result<Ratio<BigInt>, Refusal> {
        let start = self.at;
        while self.symbols.get(self.at).is_some_and(char::is_ascii_digit) {
            self.at += 1;
        }
        let digits: String = self.symbols[start..self.at].iter().collect();
        let number: i64 = digits.parse().map_err(|_| Refusal::Malformed)?;
        self.used.push(number);
        Ok(Ratio::from_integer(number.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> Result<String, Refusal> {
        evaluate(text).map(|evaluation| evaluation.value.to_string())
    }

    #[test]
    fn values_are_exact() {
        assert_eq!(value("1/3*3").as_deref(), Ok("1"));
        assert_eq!(value("2+3*4-6/4").as_deref(), Ok("25/2"));
        assert_eq!(value("10-4-3").as_deref(), Ok("3"));
        assert_eq!(value("64/8/2").as_deref(), Ok("4"));
        assert_eq!(value("-(2-5)×4").as_deref(), Ok("12"));
        assert_eq!(value("\\left(2 \\times 3\\right) \\div [4 − 1] = 2").as_deref(), Ok("2"));
        assert_eq!(evaluate("5+5*12").unwrap().used, [5, 5, 12]);
        assert_eq!(evaluate("2+3=5").unwrap().used, [2, 3]);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "()", "1+", "*2", "1 2 +", "2(3)", "1.5+2", "x", "2+3=6", "2=", "(1", "1)", "2**3", "2^3"]
        {
            assert!(matches!(value(text), Err(Refusal::Malformed)), "{text}");
        }
        assert_eq!(value("1 2"), Ok("12".to_owned()), "spaces are nothing: the digits decide what was used");
        assert_eq!(value("1/(2-2)"), Err(Refusal::DividesByZero));
        assert_eq!(value(&"(".repeat(300)), Err(Refusal::TooLarge));
        assert_eq!(value(&"-".repeat(300)), Err(Refusal::TooLarge));
        assert_eq!(value(&"1+".repeat(100_000)), Err(Refusal::TooLarge));
        assert_eq!(value("99999999999999999999"), Err(Refusal::Malformed));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9+*/()= .é×\\\\-]{0,50}") {
            let _ = evaluate(&text);
        }
    }
}
