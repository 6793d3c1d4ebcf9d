//! Number literals, with every usual way to group digits.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

/// How commas between digits are read. Texts that can be read in several ways are read in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commas {
    /// `1,234` is one number: three digits after each comma.
    Group,
    /// A comma always separates: `1,234` is two numbers.
    Separate,
    /// A single comma with no blank is a decimal point: `2,74`.
    Decimal,
}

/// A literal as read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    pub(super) value: BigRational,
    /// The digits, if it is a plain whole number without marks.
    pub(super) digits: Option<String>,
}

/// Longest literal, in characters; largest power of ten in scientific notation.
const LONGEST: usize = 2_000;
const LARGEST_EXPONENT: i64 = 4_000;

/// What [`scan`] found.
pub(super) enum Scan {
    /// No number begins here.
    None,
    /// A number, and how many characters it takes.
    Found(Literal, usize),
    /// A number beyond the limits.
    TooLarge,
}

/// Reads the number that begins at `text[0]`.
pub(super) fn scan(text: &[char], commas: Commas) -> Scan {
    let digits_at =
        |from: usize| text[from.min(text.len())..].iter().take_while(|c| c.is_ascii_digit()).count();
    let at = |i: usize| text.get(i).copied().unwrap_or('\0');
    let lead = digits_at(0);
    if lead == 0 && !(at(0) == '.' && digits_at(1) > 0) {
        return Scan::None;
    }
    if lead > LONGEST {
        return Scan::TooLarge;
    }
    let mut whole: String = text[..lead].iter().collect();
    let mut end = lead;
    let mut marked = false;
    let mut point = '.';
    if (1..=3).contains(&lead) && at(0) != '0' {
        for mark in [',', '.', ' ', '\''] {
            let groups = groups_of_three(text, lead, mark);
            let after = lead + 4 * groups;
            let allowed = match mark {
                ',' => groups > 0 && commas == Commas::Group,
                // 1.234 is a decimal; 1.234.567 and 1.234,56 are not.
                '.' => {
                    groups > 1 || (groups == 1 && at(after) == ',' && (1..=2).contains(&digits_at(after + 1)))
                }
                _ => groups > 0,
            };
            if allowed {
                whole.extend(text[lead..after].iter().filter(|c| c.is_ascii_digit()));
                end = after;
                marked = true;
                point = if mark == '.' { ',' } else { '.' };
                break;
            }
        }
    }
    if commas == Commas::Decimal && !marked {
        let behind = digits_at(end + 1);
        let alone = behind > 0 && at(end + 1 + behind) != ',' && at(end) == ',';
        point = if alone { ',' } else { '.' };
    }
    let mut fraction = String::new();
    let mut repeating = String::new();
    if at(end) == point && !(point == ',' && digits_at(end + 1) == 0) && at(end + 1) != '.' {
        let behind = digits_at(end + 1);
        if behind > LONGEST {
            return Scan::TooLarge;
        }
        fraction = text[end + 1..end + 1 + behind].iter().collect();
        marked = true;
        end += 1 + behind;
        if let Some((digits, length)) = overlined(&text[end..]) {
            repeating = digits;
            end += length;
        }
    }
    let mut exponent = 0;
    if matches!(at(end), 'e' | 'E') {
        let sign = usize::from(matches!(at(end + 1), '+' | '-'));
        let count = digits_at(end + 1 + sign);
        let after = end + 1 + sign + count;
        if count > 0 && !at(after).is_alphabetic() {
            let written: String = text[end + 1..after].iter().collect();
            match written.trim_start_matches('+').parse::<i64>() {
                Ok(value) if value.abs() <= LARGEST_EXPONENT => exponent = value,
                _ => return Scan::TooLarge,
            }
            marked = true;
            end = after;
        }
    }
    let value = assemble(&whole, &fraction, &repeating, exponent);
    Scan::Found(Literal { value, digits: (!marked).then_some(whole) }, end)
}

/// How many groups `mark` + three digits follow at `from`, if the digits end there.
fn groups_of_three(text: &[char], from: usize, mark: char) -> usize {
    let mut groups = 0;
    let mut at = from;
    while text.get(at) == Some(&mark)
        && text.len() >= at + 4
        && text[at + 1..at + 4].iter().all(char::is_ascii_digit)
        && !text.get(at + 4).is_some_and(char::is_ascii_digit)
    {
        groups += 1;
        at += 4;
    }
    groups
}

/// Digits under a line, as in `0.\overline{3}`, and the length of the whole.
fn overlined(text: &[char]) -> Option<(String, usize)> {
    for command in ["\\overline{", "\\bar{", "\\dot{"] {
        let length = command.len();
        if text.len() > length && command.chars().zip(text).all(|(a, &b)| a == b) {
            let digits: String = text[length..].iter().take_while(|c| c.is_ascii_digit()).collect();
            let end = length + digits.len();
            if !digits.is_empty() && digits.len() <= 100 && text.get(end) == Some(&'}') {
                return Some((digits, end + 1));
            }
        }
    }
    None
}

fn assemble(whole: &str, fraction: &str, repeating: &str, exponent: i64) -> BigRational {
    let integer = |digits: &str| digits.parse::<BigInt>().unwrap_or_default();
    let ten = |power: usize| BigInt::from(10).pow(u32::try_from(power).unwrap_or(u32::MAX));
    let mut value = BigRational::new(integer(&format!("{whole}{fraction}")), ten(fraction.len()));
    if !repeating.is_empty() {
        let nines = ten(repeating.len()) - BigInt::one();
        value += BigRational::new(integer(repeating), nines * ten(fraction.len()));
    }
    let power = usize::try_from(exponent.unsigned_abs()).unwrap_or(0);
    let scale = BigRational::from_integer(ten(power));
    if value.is_zero() || exponent == 0 {
        value
    } else if exponent > 0 {
        value * scale
    } else {
        value / scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, commas: Commas) -> Option<(String, usize)> {
        let chars: Vec<char> = text.chars().collect();
        match scan(&chars, commas) {
            Scan::Found(literal, end) => Some((literal.value.to_string(), end)),
            Scan::None => None,
            Scan::TooLarge => Some(("too large".to_owned(), 0)),
        }
    }

    #[test]
    fn digits_are_grouped_only_where_it_is_unambiguous() {
        for (text, value, end) in [
            ("1,234", "1234", 5),
            ("12,345,678.5", "24691357/2", 12),
            ("1 234 567", "1234567", 9),
            ("1.234.567", "1234567", 9),
            ("1.234,5", "2469/2", 7),
            ("1'234", "1234", 5),
            ("1.234", "617/500", 5),
            ("1,23", "1", 1),
            ("1234,567", "1234", 4),
            ("1,2345", "1", 1),
            ("0,123", "0", 1),
            ("1,234,56", "1234", 5),
            ("12, 345", "12", 2),
            (".5", "1/2", 2),
            ("5.", "5", 2),
            ("1...", "1", 1),
            ("1.5e-3", "3/2000", 6),
            ("2e3x", "2", 1),
            ("0.1\\overline{6}", "1/6", 15),
        ] {
            assert_eq!(read(text, Commas::Group), Some((value.to_owned(), end)), "{text}");
        }
        assert_eq!(read("1,234", Commas::Separate), Some(("1".to_owned(), 1)));
        assert_eq!(read("2,75", Commas::Decimal), Some(("11/4".to_owned(), 4)));
        assert_eq!(read("2,7,5", Commas::Decimal), Some(("2".to_owned(), 1)));
        assert_eq!(read("x", Commas::Group), None);
        assert_eq!(read("1e999999", Commas::Group), Some(("too large".to_owned(), 0)));
    }

    proptest! {
        #[test]
        fn grouped_numbers_are_the_plain_ones(n in 0u64..10_000_000_000_000) {
            let plain = n.to_string();
            for (mark, commas) in [(',', Commas::Group), (' ', Commas::Separate), ('\'', Commas::Separate)] {
                let mut grouped = String::new();
                for (i, digit) in plain.chars().enumerate() {
                    if i > 0 && (plain.len() - i) % 3 == 0 {
                        grouped.push(mark);
                    }
                    grouped.push(digit);
                }
                let length = grouped.len();
                prop_assert_eq!(read(&grouped, commas), Some((plain.clone(), length)));
            }
        }
    }
}
