//! Exact search for a solution, fewest operations first.

use num_rational::Ratio;
use num_traits::{CheckedAdd, CheckedDiv, CheckedMul, CheckedSub, Zero};

/// A way to reach a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// The value reached.
    pub value: Ratio<i64>,
    /// The operations one by one, such as `25+5=30`.
    pub steps: Vec<String>,
    text: String,
    /// How tightly `text` binds: 1 a sum, 2 a product, 3 a number.
    binding: u8,
}

impl Solution {
    /// A given number, nothing done yet.
    #[must_use]
    pub fn number(number: i64) -> Self {
        Self { value: Ratio::from_integer(number), steps: Vec::new(), text: number.to_string(), binding: 3 }
    }

    /// The whole as one expression with no needless brackets.
    #[must_use]
    pub fn expression(&self) -> String {
        self.text.clone()
    }

    /// Joins two ways by `+ - * /`; `None` for a division by zero or numbers beyond 64 bits.
    #[must_use]
    pub fn combine(&self, symbol: char, right: &Self) -> Option<Self> {
        let value = apply(self.value, symbol, right.value)?;
        let binding = if matches!(symbol, '+' | '-') { 1 } else { 2 };
        let left_text = self.in_brackets_below(binding);
        // Right of - and / even an equal binding needs brackets: a-(b-c).
        let right_text = right.in_brackets_below(binding + u8::from(matches!(symbol, '-' | '/')));
        let mut steps = [self.steps.as_slice(), right.steps.as_slice()].concat();
        steps.push(format!("{}{symbol}{}={value}", plain(self.value), plain(right.value)));
        Some(Self { value, steps, text: format!("{left_text}{symbol}{right_text}"), binding })
    }

    fn in_brackets_below(&self, binding: u8) -> String {
        if self.binding < binding { format!("({})", self.text) } else { self.text.clone() }
    }
}

fn plain(value: Ratio<i64>) -> String {
    if value.is_integer() { value.to_string() } else { format!("({value})") }
}

fn apply(left: Ratio<i64>, symbol: char, right: Ratio<i64>) -> Option<Ratio<i64>> {
    match symbol {
        '+' => left.checked_add(&right),
        '-' => left.checked_sub(&right),
        '*' => left.checked_mul(&right),
        _ if right.is_zero() => None,
        _ => left.checked_div(&right),
    }
}

/// A solution with the fewest operations, first in a fixed order; `None` if there is none or `nodes` combinations were
/// tried in vain. With `use_all` every number has to be used.
#[must_use]
pub fn solve(numbers: &[i64], target: i64, use_all: bool, nodes: u64) -> Option<Solution> {
    let start: Vec<Solution> = numbers.iter().map(|&n| Solution::number(n)).collect();
    let target = Ratio::from_integer(target);
    let mut left = nodes;
    let most = numbers.len().saturating_sub(1);
    let fewest = if use_all { most } else { 1 };
    (fewest..=most).find_map(|operations| deepen(&start, target, operations, &mut left))
}

/// Tries exactly `operations` more combinations; the last must give the target.
fn deepen(parts: &[Solution], target: Ratio<i64>, operations: usize, nodes: &mut u64) -> Option<Solution> {
    for i in 0..parts.len() {
        for j in 0..parts.len() {
            for symbol in ['+', '*', '-', '/'] {
                let mirrored = j < i && matches!(symbol, '+' | '*');
                if i == j || mirrored {
                    continue;
                }
                *nodes = nodes.checked_sub(1)?;
                let value = apply(parts[i].value, symbol, parts[j].value);
                if operations == 1 && value != Some(target) {
                    continue;
                }
                let Some(joined) = parts[i].combine(symbol, &parts[j]) else { continue };
                if operations == 1 {
                    return Some(joined);
                }
                let mut rest: Vec<Solution> = Vec::with_capacity(parts.len() - 1);
                rest.extend(
                    parts.iter().enumerate().filter(|&(k, _)| k != i && k != j).map(|(_, p)| p.clone()),
                );
                rest.push(joined);
                if let Some(found) = deepen(&rest, target, operations - 1, nodes) {
                    return Some(found);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::countdown::evaluate;

    #[test]
    fn the_shortest_solution_comes_first() {
        let found = solve(&[3, 5, 5, 8], 40, false, 100_000).unwrap();
        assert_eq!(
            (found.expression().as_str(), found.steps.as_slice()),
            ("5*8", &["5*8=40".to_owned()][..])
        );
    }

    #[test]
    fn fractions_on_the_way_are_found_and_written_exactly() {
        // The classic that needs a fraction: 8/(3-8/3) = 24.
        let found = solve(&[3, 3, 8, 8], 24, true, 1_000_000).unwrap();
        assert_eq!(evaluate(&found.expression()).unwrap().value.to_string(), "24");
        assert_eq!(found.expression(), "8/(3-8/3)");
        assert_eq!(found.steps, ["8/3=8/3", "3-(8/3)=1/3", "8/(1/3)=24"]);
    }

    #[test]
    fn the_impossible_and_the_too_long_end() {
        assert_eq!(solve(&[1, 1, 1, 1], 24, true, 1_000_000), None);
        assert_eq!(solve(&[3, 3, 8, 8], 24, true, 10), None);
        assert_eq!(solve(&[], 24, false, 10), None);
        assert_eq!(solve(&[24], 24, false, 10), None);
    }
}
