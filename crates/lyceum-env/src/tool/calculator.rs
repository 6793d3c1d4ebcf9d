//! Exact arithmetic.

use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::{One, Zero};

use super::{Reply, Tool};
use crate::task::countdown::{Refusal, evaluate};

/// Evaluates `+ - * /` and brackets over whole and decimal numbers, without rounding.
pub struct Calculator;

impl Tool for Calculator {
    fn name(&self) -> &str {
        "calculator"
    }

    fn description(&self) -> &str {
        "exact arithmetic: + - * / and brackets"
    }

    fn answer(&self, argument: &str) -> Reply {
        match evaluate(&whole_numbers(argument)) {
            Ok(found) => Reply::Said(shown(&found.value)),
            Err(Refusal::DividesByZero) => Reply::Refused("a division by zero has no value".into()),
            Err(Refusal::TooLarge) => Reply::Refused("the expression is too long".into()),
            Err(Refusal::Malformed) => {
                Reply::Refused("not an expression of numbers, + - * / and brackets".into())
            }
        }
    }
}

/// Decimals as fractions of whole numbers, thousands marks and money signs taken away: `$1,200.50` is `(120050/100)`.
fn whole_numbers(text: &str) -> String {
    let chars: Vec<char> = text.chars().filter(|&c| c != '$').take(2_000).collect();
    let is_digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let mut out = String::new();
    let mut at = 0;
    while at < chars.len() {
        let begins_number = is_digit(at) || (chars[at] == '.' && is_digit(at + 1));
        if !begins_number {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        let (mut digits, mut fraction) = (String::new(), None);
        loop {
            match chars.get(at) {
                Some(&c) if c.is_ascii_digit() => {
                    digits.push(c);
                    fraction = fraction.map(|places: usize| places + 1);
                }
                // A thousands mark has three digits after it.
                Some(',') if fraction.is_none() && (1..4).all(|k| is_digit(at + k)) && !is_digit(at + 4) => {}
                Some('.') if fraction.is_none() && is_digit(at + 1) => fraction = Some(0),
                _ => break,
            }
            at += 1;
        }
        match fraction {
            Some(places) => out.push_str(&format!("({digits}/1{})", "0".repeat(places))),
            None => out.push_str(&digits),
        }
    }
    out
}

/// Most decimal places that are written out.
const PLACES: u32 = 6;

/// A whole number, a decimal that ends soon, else a fraction.
fn shown(value: &Ratio<BigInt>) -> String {
    if value.is_integer() {
        return value.to_integer().to_string();
    }
    let mut scale = BigInt::one();
    for places in 1..=PLACES {
        scale *= 10;
        let scaled = value * Ratio::from_integer(scale.clone());
        if scaled.is_integer() {
            let sign = if *value < Ratio::zero() { "-" } else { "" };
            let digits = scaled.to_integer().magnitude().to_string();
            let digits = format!("{digits:0>width$}", width = places as usize + 1);
            let (whole, rest) = digits.split_at(digits.len() - places as usize);
            return format!("{sign}{whole}.{rest}");
        }
    }
    format!("{}/{}", value.numer(), value.denom())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_worked_examples() {
        let said = |text: &str| match Calculator.answer(text) {
            Reply::Said(text) => text,
            other => format!("{other:?}"),
        };
        for (asked, answer) in [
            ("(12+30)*2/4", "21"),
            ("2.5*4", "10"),
            ("$1,200.50 - .25", "1200.25"),
            ("1/8", "0.125"),
            ("-1/20", "-0.05"),
            ("1/3", "1/3"),
            ("0.1+0.2", "0.3"),
            ("12,5", "Refused(\"not an expression of numbers, + - * / and brackets\")"),
            ("1/(2-2)", "Refused(\"a division by zero has no value\")"),
            ("", "Refused(\"not an expression of numbers, + - * / and brackets\")"),
            ("1.2.3", "Refused(\"not an expression of numbers, + - * / and brackets\")"),
        ] {
            assert_eq!(said(asked), answer, "{asked}");
        }
        assert!(matches!(Calculator.answer(&"9*".repeat(5_000)), Reply::Refused(_)));
    }
}
