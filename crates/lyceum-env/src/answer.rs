//! The exact answer checker.
//!
//! [`extract`] finds the final answer in a completion; [`equivalent`] compares it with the gold answer. Both are pure,
//! run in this process, never panic and end within a budget, whatever the text.
//!
//! What counts as equal:
//! - **Numbers** are exact: `0.5`, `1/2`, `\frac12`, `5e-1` and `50\%` are one number; `0.333` and `1/3` are not, unless
//!   [`Rules::tolerance`] says how far apart is near enough. Digits may be grouped (`1,234`, `1 234`, `1.234.567`).
//!   `1.234` is a decimal; `2,74` is read as a list and as a decimal and equals either.
//! - **Percent**: `28\%` equals `0.28`, and `28` too (the question may ask for percent); `28` and `0.28` differ.
//! - **Units** are optional: `5 cm` equals `5`. Two known units of one dimension are converted (`100 cm` is `1 m`), of two
//!   dimensions they differ. Two different counted things differ (`5 eggs`, `5 hens`).
//! - **Expressions** are equal if their values are: rational arithmetic, radicals (also nested), pi, e, i, powers,
//!   factorials, binomials are decided exactly; letters are given several random rational values; sines, logarithms
//!   and their like must agree to 256 bits. Roots of negative numbers of odd degree are the real ones.
//! - **Lists** without brackets (`3, 5`; `3 or 5`; `x=3, x=5`; `\pm 2`) are unordered, as sets are. Tuples are
//!   ordered, and equal a bare list in the same order. Intervals need the same brackets: `[0,1)`.
//! - **Equations** `x = 5` equal their value; others equal their multiples. `x > 3` equals `(3, \infty)`.
//! - **Matrices** entrywise; **ratios** as proportions; **times** `3:30` by the minute; **choices** `(C)` by the letter;
//!   **words** without case, spacing and punctuation.

mod ball;
mod choice;
mod compare;
mod evaluate;
mod exact;
mod expression;
mod extract;
mod fold;
mod identity;
mod lex;
mod meter;
mod number;
mod parse;
mod real;
mod series;
mod shape;
mod unit;
mod words;

use num_rational::BigRational;
use num_traits::Zero;
use serde::{Deserialize, Serialize};

pub use extract::{ExtractRule, extract, extract_first};

use crate::task::keyed::fingerprint;
use identity::Judge;
use meter::{Meter, Stop};

/// What a comparison may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Steps, each about a multiplication of two machine words. The default is some tens of milliseconds.
    pub steps: u64,
    /// Longest answer that is looked at, in bytes.
    pub length: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 20_000_000, length: 4_000 }
    }
}

/// How answers are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// What a comparison may cost.
    pub budget: Budget,
    /// Largest relative difference of two numbers that still counts as equal; 0 for exact.
    pub tolerance: f64,
}

/// The outcome of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The same answer.
    Equal,
    /// Another answer.
    Different,
    /// Not decided, and why.
    Undecided(Undecided),
}

/// Why a comparison was not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undecided {
    /// An answer is longer than the budget allows.
    TooLong,
    /// An answer nests deeper than any honest one.
    TooDeep,
    /// The steps ran out, or a number would be too large to write down.
    Budget,
    /// A construct without a value here: a division by zero, an unknown function.
    Unsupported,
}

/// Compares a given answer with the gold one. Symmetric, and every text equals itself.
#[must_use]
pub fn equivalent(gold: &str, given: &str, rules: &Rules) -> Verdict {
    if gold.trim() == given.trim() {
        return Verdict::Equal;
    }
    if gold.len().max(given.len()) > rules.budget.length {
        return Verdict::Undecided(Undecided::TooLong);
    }
    let [gold, given] = [gold, given].map(|text| fold::fold(&without_maths_marks(fold::unwrap(text))));
    let [gold, given] = [&gold, &given].map(|text| fold::unwrap(text));
    if gold == given {
        return Verdict::Equal;
    }
    if gold.is_empty() || given.is_empty() {
        return Verdict::Different;
    }
    if let Some(same) = choice::same_choice(gold, given) {
        return if same { Verdict::Equal } else { Verdict::Different };
    }
    match compare_readings(gold, given, rules) {
        Ok(true) => Verdict::Equal,
        Ok(false) => Verdict::Different,
        Err(Stop::Budget) => Verdict::Undecided(Undecided::Budget),
        Err(Stop::Deep) => Verdict::Undecided(Undecided::TooDeep),
        Err(Stop::Undefined | Stop::Unsupported | Stop::Syntax) => Verdict::Undecided(Undecided::Unsupported),
    }
}

/// Texts that can be read in several ways are equal if any two readings are. If none are, the first pair decides
/// between different and undecided.
fn compare_readings(gold: &str, given: &str, rules: &Rules) -> Result<bool, Stop> {
    let (golds, givens) = (shape::readings(gold)?, shape::readings(given)?);
    let tolerance = BigRational::from_float(rules.tolerance.max(0.0)).unwrap_or_else(BigRational::zero);
    let mut judge = Judge {
        meter: Meter::new(rules.budget.steps),
        seed: fingerprint(gold) ^ fingerprint(given),
        tolerance,
    };
    let mut first = None;
    for gold in &golds {
        for given in &givens {
            let outcome = judge.equal(gold, given);
            if outcome == Ok(true) {
                return Ok(true);
            }
            first.get_or_insert(outcome);
        }
    }
    first.unwrap_or(Ok(false))
}

/// Without the dollars of maths mode: a lone one is money.
fn without_maths_marks(text: &str) -> String {
    let mut escaped = false;
    let lone = |c: char, escaped: &mut bool| {
        let is = c == '$' && !*escaped;
        *escaped = c == '\\' && !*escaped;
        is
    };
    let dollars = text.chars().filter(|&c| lone(c, &mut escaped)).count();
    if dollars < 2 {
        return text.to_owned();
    }
    let mut escaped = false;
    text.chars().filter(|&c| !lone(c, &mut escaped)).collect()
}
