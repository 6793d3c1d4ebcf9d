//! Units, currencies and counted things behind (or before) a number.

use std::collections::BTreeMap;

use num_rational::BigRational;
use num_traits::One;

use super::expression::Function;
use super::lex::{Lexeme, Token};

/// What a number counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unit {
    /// Powers of base dimensions: metres, seconds, dollars, degrees of angle, ...
    pub(super) dimensions: BTreeMap<&'static str, i32>,
    /// Size in base units.
    pub(super) factor: BigRational,
    /// Words that are no known unit: eggs, students.
    pub(super) things: Vec<String>,
    /// Whether the number is in percent.
    pub(super) percent: bool,
}

impl Unit {
    pub(super) fn none() -> Self {
        Self { dimensions: BTreeMap::new(), factor: BigRational::one(), things: Vec::new(), percent: false }
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Self::none()
    }

    /// Whether some part of it is a known unit.
    pub(super) fn is_known(&self) -> bool {
        self.percent || !self.dimensions.is_empty() || !self.factor.is_one()
    }

    /// Multiplies by a known unit to a power.
    fn multiply(&mut self, row: &Row, power: i32) {
        let factor = BigRational::new(row.above.into(), row.below.into());
        self.factor *= factor.pow(power);
        if row.dimension.is_empty() {
            return;
        }
        for (dimension, of_row) in parts(row.dimension) {
            let sum = self.dimensions.entry(dimension).or_insert(0);
            *sum += of_row * power;
            if *sum == 0 {
                self.dimensions.remove(dimension);
            }
        }
    }

    /// Both units together, as in `$5 per hour`.
    pub(super) fn joined(mut self, other: &Self) -> Self {
        self.factor *= &other.factor;
        for (&dimension, &power) in &other.dimensions {
            *self.dimensions.entry(dimension).or_insert(0) += power;
        }
        self.dimensions.retain(|_, power| *power != 0);
        self.things.extend(other.things.iter().cloned());
        self.percent |= other.percent;
        self
    }
}

struct Row {
    names: &'static [&'static str],
    dimension: &'static str,
    above: i64,
    below: i64,
}

const fn row(names: &'static [&'static str], dimension: &'static str, above: i64, below: i64) -> Row {
    Row { names, dimension, above, below }
}

/// Singular, lower-case names with their size in base units.
const ROWS: [Row; 54] = [
    row(&["mm", "millimeter", "millimetre"], "m", 1, 1_000),
    row(&["cm", "centimeter", "centimetre"], "m", 1, 100),
    row(&["dm", "decimeter", "decimetre"], "m", 1, 10),
    row(&["m", "meter", "metre"], "m", 1, 1),
    row(&["km", "kilometer", "kilometre"], "m", 1_000, 1),
    row(&["inch", "inche", "in"], "m", 254, 10_000),
    row(&["ft", "foot", "feet"], "m", 3_048, 10_000),
    row(&["yd", "yard"], "m", 9_144, 10_000),
    row(&["mi", "mile"], "m", 1_609_344, 1_000),
    row(&["acre"], "m2", 40_468_564_224, 10_000_000),
    row(&["hectare", "ha"], "m2", 10_000, 1),
    row(&["ml", "milliliter", "millilitre"], "m3", 1, 1_000_000),
    row(&["cl", "centiliter", "centilitre"], "m3", 1, 100_000),
    row(&["l", "liter", "litre"], "m3", 1, 1_000),
    row(&["gallon", "gal"], "gallon", 1, 1),
    row(&["quart", "qt"], "gallon", 1, 4),
    row(&["pint", "pt"], "gallon", 1, 8),
    row(&["cup"], "gallon", 1, 16),
    row(&["tablespoon", "tbsp"], "gallon", 1, 256),
    row(&["teaspoon", "tsp"], "gallon", 1, 768),
    row(&["mg", "milligram"], "kg", 1, 1_000_000),
    row(&["g", "gram", "gm"], "kg", 1, 1_000),
    row(&["kg", "kilogram", "kilo"], "kg", 1, 1),
    row(&["tonne"], "kg", 1_000, 1),
    row(&["pound", "lb"], "pound", 1, 1),
    row(&["ounce", "oz"], "pound", 1, 16),
    row(&["ton"], "ton", 1, 1),
    row(&["s", "sec", "second"], "s", 1, 1),
    row(&["min", "minute"], "s", 60, 1),
    row(&["h", "hr", "hour"], "s", 3_600, 1),
    row(&["day"], "s", 86_400, 1),
    row(&["week", "wk"], "s", 604_800, 1),
    row(&["month"], "month", 1, 1),
    row(&["year", "yr"], "month", 12, 1),
    row(&["dollar", "buck", "usd", "$", "¤"], "dollar", 1, 1),
    row(&["cent", "¢"], "dollar", 1, 100),
    row(&["euro", "eur", "€"], "euro", 1, 1),
    row(&["£", "gbp", "pound sterling"], "sterling", 1, 1),
    row(&["¥", "yen", "yuan", "rmb", "元"], "yen", 1, 1),
    row(&["₹", "rupee", "rs", "inr"], "rupee", 1, 1),
    row(&["°", "degree", "deg"], "degree", 1, 1),
    row(&["radian", "rad"], "radian", 1, 1),
    row(&["n", "newton"], "newton", 1, 1),
    row(&["j", "joule"], "joule", 1, 1),
    row(&["w", "watt"], "watt", 1, 1),
    row(&["half", "halve"], "", 1, 2),
    row(&["third"], "", 1, 3),
    row(&["quarter", "fourth"], "", 1, 4),
    row(&["dozen"], "", 12, 1),
    row(&["hundred"], "", 100, 1),
    row(&["thousand"], "", 1_000, 1),
    row(&["million"], "", 1_000_000, 1),
    row(&["billion"], "", 1_000_000_000, 1),
    row(&["trillion"], "", 1_000_000_000_000, 1),
];

/// Words that carry no meaning beside a unit.
const FILLERS: [&str; 12] =
    ["of", "the", "a", "an", "in", "total", "units", "unit", "altogether", "each", "more", "left"];

fn parts(dimension: &'static str) -> Vec<(&'static str, i32)> {
    match dimension {
        "m2" => vec![("m", 2)],
        "m3" => vec![("m", 3)],
        _ => vec![(dimension, 1)],
    }
}

fn find(word: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.names.contains(&word))
}

/// A word in lower case without the plural's s, where that is a known unit; else without it anyway if it is long.
fn singular(word: &str) -> String {
    let lower = word.to_lowercase();
    if find(&lower).is_some() {
        return lower;
    }
    match lower.strip_suffix('s') {
        Some(stem) if stem.len() > 1 => stem.to_owned(),
        _ => lower,
    }
}

/// Composite units that have a name of their own.
fn composite(word: &str) -> Option<[(&'static str, i32); 2]> {
    match word {
        "mph" => Some([("mile", 1), ("hour", -1)]),
        "kmh" | "kph" | "kmph" => Some([("km", 1), ("hour", -1)]),
        _ => None,
    }
}

/// Words and signs in a row, as the unit of the number before them; `None` if they can't be one.
pub(super) fn read(lexemes: &[Lexeme]) -> Option<Unit> {
    let mut words: Vec<String> = Vec::new();
    for lexeme in lexemes {
        match &lexeme.token {
            Token::Word(word) | Token::Letter(word) => words.push(word.clone()),
            Token::Text(text) => split_words(text, &mut words)?,
            Token::Function(Function::Min) => words.push("min".to_owned()),
            Token::Symbol(
                symbol @ ('%' | '°' | '¤' | '$' | '€' | '£' | '¥' | '₹' | '¢' | '/' | '^' | '-' | '*'),
            ) => {
                words.push(symbol.to_string());
            }
            Token::Number(value, Some(_)) if words.last().is_some_and(|word| word == "^" || word == "-") => {
                words.push(value.to_string());
            }
            // `\text{ cm}^{2}`: braces around an exponent.
            Token::Open('{') | Token::Close('}') if words.iter().any(|word| word == "^") => {}
            _ => return None,
        }
    }
    if words.len() > 8 {
        return None;
    }
    assemble(&words)
}

fn split_words(text: &str, words: &mut Vec<String>) -> Option<()> {
    let mut word = String::new();
    let flush = |word: &mut String, words: &mut Vec<String>| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
    };
    for c in text.chars() {
        match c {
            _ if c.is_alphabetic() => word.push(c),
            '.' | ',' | '\'' => {}
            _ if c.is_whitespace() => flush(&mut word, words),
            '/' | '^' | '%' | '°' | '$' | '*' | '-' => {
                flush(&mut word, words);
                words.push(c.to_string());
            }
            '0'..='9' if words.last().is_some_and(|last| last == "^" || last == "-") => {
                words.push(c.to_string());
            }
            '{' | '}' => {}
            _ => return None,
        }
    }
    flush(&mut word, words);
    Some(())
}

fn assemble(words: &[String]) -> Option<Unit> {
    let mut unit = Unit::none();
    // The sign and size of the next word's power: below a fraction bar, squared.
    let (mut side, mut raised) = (1, 1);
    let mut at = 0;
    while at < words.len() {
        let word = singular(&words[at]);
        at += 1;
        match word.as_str() {
            "%" | "percent" | "percentage" | "pct" => unit.percent = true,
            "/" | "per" => {
                side = -1;
                continue;
            }
            "*" => continue,
            "square" | "sq" | "squared" => {
                raised = 2;
                continue;
            }
            "cubic" | "cu" | "cubed" => {
                raised = 3;
                continue;
            }
            "^" | "-" => return None,
            word if word.chars().all(|c| c.is_ascii_digit()) => return None,
            word if FILLERS.contains(&word) && !(word == "in" && words.len() == 1) => continue,
            word => {
                let mut power = raised;
                if words.get(at).is_some_and(|next| next == "^") {
                    let minus = words.get(at + 1).is_some_and(|next| next == "-");
                    at += 1 + usize::from(minus);
                    let exponent: i32 = words.get(at)?.parse().ok().filter(|&e| (1..=4).contains(&e))?;
                    power = if minus { -exponent } else { exponent };
                    at += 1;
                } else if words.get(at).is_some_and(|next| next == "squared") {
                    power = 2;
                    at += 1;
                } else if words.get(at).is_some_and(|next| next == "cubed") {
                    power = 3;
                    at += 1;
                }
                if let Some(known) = composite(word) {
                    for (name, power_of) in known {
                        unit.multiply(find(name)?, power_of * side);
                    }
                } else if let Some(row) = find(word) {
                    unit.multiply(row, power * side);
                } else {
                    unit.things.push(word.to_owned());
                }
            }
        }
        raised = 1;
    }
    // `sq` before nothing, or fillers alone, count nothing.
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::super::lex::lex;
    use super::super::number::Commas;
    use super::*;

    fn unit(text: &str) -> Option<Unit> {
        let chars: Vec<char> = text.chars().collect();
        read(&lex(&chars, Commas::Group).unwrap())
    }

    #[test]
    fn spellings_of_one_unit_agree() {
        for (one, other) in [
            ("cm", "centimeters"),
            ("\\text{ cm}^2", "square centimeters"),
            ("\\text{cm}^{2}", "cm^2"),
            ("miles per hour", "mph"),
            ("\\mathrm{km/h}", "kilometers per hour"),
            ("m/s^2", "meters per second squared"),
            ("dollars", "$"),
            ("m s^{-1}", "m/s"),
        ] {
            assert!(unit(one).is_some());
            assert_eq!(unit(one), unit(other), "{one} {other}");
        }
        assert_eq!(unit("cm").unwrap().dimensions, unit("inches").unwrap().dimensions);
        assert_ne!(unit("cm"), unit("inches"));
        assert_eq!(unit("duck eggs").unwrap().things, ["duck", "egg"]);
        assert!(unit("%").unwrap().percent);
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for text in ["5", "cm + 3", "(cm)", "cm^", "cm^x", "a b c d e f g h i"] {
            assert_eq!(unit(text), None, "{text}");
        }
    }
}
