//! `programs`: write a stack-machine program for a formula, judged by running it (the domain "code" of SRPO's world, arXiv
//! 2504.14286; ours).
//!
//! ```text
//! f(a,b)=(a+b)*2      the question
//! a b + 2 *           an answer: words for the machine of [`stack`](crate::tool::stack)
//! ```
//!
//! Only what the program computes counts, not how: its tests are inputs and results that the prompt does not show.

use std::fmt;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::keyed::{generator, is_heldout};
use super::{ComponentInfo, Message, Problem, Split, Task};
use crate::error::{Error, Result};
use crate::reward::{Component, Range};
use crate::tool::stack::run;

const NAME: &str = "programs";
const SPLITS: [Split; 3] = [Split::Train, Split::Heldout, Split::Longer];
const HELDOUT_PERCENT: u64 = 10;
const ATTEMPTS: u64 = 2_000;
const TESTS: usize = 5;

const COMPONENTS: [ComponentInfo; 3] = [
    ComponentInfo { name: "correct", range: Range::UNIT, about: "the program passes all its tests" },
    ComponentInfo {
        name: "format",
        range: Range::UNIT,
        about: "one line that runs, of no more words than allowed",
    },
    ComponentInfo { name: "passed", range: Range::UNIT, about: "share of the tests that it passes" },
];

/// Options of the task `programs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProgramsOptions {
    /// Operators of a formula, least and most.
    pub operators: [usize; 2],
    /// The same for the split `longer`; more than the most of `operators`.
    pub longer: [usize; 2],
    /// Constants are 1 to this.
    pub largest: i64,
    /// Inputs of a formula: 1 to 3.
    pub inputs: usize,
    /// Most words of a program.
    pub words: usize,
    /// Chance of a wrong word in a demonstration, for each of its words: what imitates it knows better than it samples.
    pub slips: f64,
}

impl Default for ProgramsOptions {
    fn default() -> Self {
        Self { operators: [2, 3], longer: [4, 4], largest: 9, inputs: 2, words: 12, slips: 0.0 }
    }
}

/// A formula.
enum Formula {
    Input(usize),
    Constant(i64),
    Binary(char, Box<Self>, Box<Self>),
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Formula {
    fn draw(operators: usize, options: &ProgramsOptions, random: &mut ChaCha8Rng) -> Self {
        if operators == 0 {
            return match random.random_bool(0.6) {
                true => Self::Input(random.random_range(0..options.inputs)),
                false => Self::Constant(random.random_range(1..=options.largest)),
            };
        }
        let left = random.random_range(0..operators);
        let operator = ['+', '-', '*'][random.random_range(0..3)];
        let side = |operators, random: &mut ChaCha8Rng| Box::new(Self::draw(operators, options, random));
        let first = side(left, random);
        Self::Binary(operator, first, side(operators - 1 - left, random))
    }

    /// The words of a program that computes it.
    fn program(&self) -> String {
        match self {
            Self::Binary(operator, first, second) => {
                format!("{} {} {operator}", first.program(), second.program())
            }
            leaf => leaf.to_string(),
        }
    }

    const fn strength(&self) -> u8 {
        match self {
            Self::Binary('*', ..) => 2,
            Self::Binary(..) => 1,
            _ => 3,
        }
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(at) => f.write_str(NAMES[*at]),
            Self::Constant(value) => write!(f, "{value}"),
            Self::Binary(operator, first, second) => {
                let side = |f: &mut fmt::Formatter<'_>, side: &Self, bare: bool| {
                    if bare { write!(f, "{side}") } else { write!(f, "({side})") }
                };
                side(f, first, first.strength() >= self.strength())?;
                write!(f, "{operator}")?;
                side(
                    f,
                    second,
                    second.strength() > self.strength() || *operator == '+' && second.strength() == 1,
                )
            }
        }
    }
}

/// The task.
pub struct ProgramsTask {
    options: ProgramsOptions,
}

impl ProgramsTask {
    /// The task with these options.
    ///
    /// # Errors
    /// [`Error::Option`] naming the option.
    pub fn new(options: ProgramsOptions) -> Result<Self> {
        let refuse = |option: &str, message: &str| Err(Error::option(NAME, option, message));
        if options.operators[0] == 0 || options.operators[0] > options.operators[1] {
            return refuse("operators", "must be the least and the most, from 1 on");
        }
        if options.longer[0] > options.longer[1] || options.longer[0] <= options.operators[1] {
            return refuse("longer", "must be the least and the most, above those of operators");
        }
        if !(1..=NAMES.len()).contains(&options.inputs) {
            return refuse("inputs", "must be 1, 2 or 3");
        }
        if !(1..=99).contains(&options.largest) {
            return refuse("largest", "must be between 1 and 99");
        }
        if options.longer[1] > 15 {
            return refuse("longer", "must be at most 15: results would leave the range of numbers");
        }
        if !(0.0..=1.0).contains(&options.slips) {
            return refuse("slips", "must be a chance between 0 and 1");
        }
        Ok(Self { options })
    }

    /// A program with a wrong word here and there.
    fn slipped(&self, program: &str, random: &mut ChaCha8Rng) -> String {
        let words = ["a", "1", "2", "+", "-", "*"];
        let mut word = |right: &str| {
            let slips = self.options.slips > 0.0 && random.random_bool(self.options.slips);
            if slips { words[random.random_range(0..words.len())].to_owned() } else { right.to_owned() }
        };
        program.split(' ').map(&mut word).collect::<Vec<_>>().join(" ")
    }
}

/// The tests of a problem: inputs and the result.
#[derive(Serialize, Deserialize)]
struct Check {
    inputs: Vec<i64>,
    result: i64,
}

impl Task for ProgramsTask {
    fn name(&self) -> &str {
        NAME
    }

    fn description(&self) -> &str {
        "programs for a small stack machine, judged by running them; generated"
    }

    fn splits(&self) -> &[Split] {
        &SPLITS
    }

    fn count(&self, _split: Split) -> Result<Option<u64>> {
        Ok(None)
    }

    fn problem(&self, split: Split, seed: u64, index: u64) -> Result<Problem> {
        let [least, most] = if split == Split::Longer { self.options.longer } else { self.options.operators };
        for attempt in 0..ATTEMPTS {
            let mut random = generator(&format!("{NAME}/{split}"), &[seed, index, attempt]);
            let formula = Formula::draw(random.random_range(least..=most), &self.options, &mut random);
            let arguments = NAMES[..self.options.inputs].join(",");
            let question = format!("f({arguments})={formula}\n");
            if is_heldout(&question, HELDOUT_PERCENT) == (split == Split::Train) {
                continue;
            }
            let program = formula.program();
            let mut check = || {
                let inputs: Vec<i64> =
                    (0..self.options.inputs).map(|_| random.random_range(-9..=9)).collect();
                run(&program, &inputs).ok().map(|result| Check { inputs, result })
            };
            let checks: Vec<Check> = (0..TESTS).filter_map(|_| check()).collect();
            if checks.len() < TESTS || checks.iter().all(|check| check.result == checks[0].result) {
                // A formula whose tests a constant would pass asks for nothing.
                continue;
            }
            let meta = json!({ "kind": NAME, "tests": checks });
            return Ok(Problem {
                id: format!("{NAME}/{split}/{seed}/{index}"),
                messages: vec![Message::user(question)],
                answer: program.clone(),
                demonstration: Some(self.slipped(&program, &mut random)),
                meta: meta.as_object().cloned().unwrap_or_default(),
            });
        }
        Err(Error::option(NAME, "operators", format!("leave the split {split} empty; allow more")))
    }

    fn components(&self) -> &[ComponentInfo] {
        &COMPONENTS
    }

    fn verify(&self, problem: &Problem, completion: &str) -> Vec<Component> {
        let tests = problem.meta.get("tests").cloned().unwrap_or_default();
        let checks: Vec<Check> = serde_json::from_value(tests).unwrap_or_default();
        let mut lines = completion.lines().map(str::trim).filter(|line| !line.is_empty());
        let program = lines.next().unwrap_or_default();
        let fits = program.split_whitespace().count() <= self.options.words;
        let passes = |check: &&Check| fits && run(program, &check.inputs) == Ok(check.result);
        let passed = checks.iter().filter(passes).count();
        let runs = checks.first().is_some_and(|check| run(program, &check.inputs).is_ok());
        vec![
            Component::holds("correct", passed == checks.len() && passed > 0),
            Component::holds("format", fits && runs && lines.next().is_none()),
            Component::unit("passed", passed as f64 / checks.len().max(1) as f64),
        ]
    }

    fn gold(&self, problem: &Problem) -> String {
        problem.answer.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn task() -> ProgramsTask {
        ProgramsTask::new(ProgramsOptions { inputs: 3, ..ProgramsOptions::default() }).unwrap()
    }

    fn leaf(text: &str) -> Box<Formula> {
        Box::new(
            NAMES
                .iter()
                .position(|n| *n == text)
                .map_or_else(|| Formula::Constant(text.parse().unwrap()), Formula::Input),
        )
    }

    #[test]
    fn formulas_need_no_bracket_too_many_or_too_few() {
        let binary = |op, a, b| Box::new(Formula::Binary(op, a, b));
        let sum = || binary('+', leaf("a"), leaf("2"));
        let shown = |formula: Box<Formula>| (formula.to_string(), formula.program());
        assert_eq!(shown(binary('*', sum(), leaf("b"))), ("(a+2)*b".into(), "a 2 + b *".into()));
        assert_eq!(shown(binary('-', leaf("b"), sum())), ("b-(a+2)".into(), "b a 2 + -".into()));
        assert_eq!(shown(binary('+', leaf("b"), sum())), ("b+a+2".into(), "b a 2 + +".into()));
        assert_eq!(shown(binary('-', sum(), leaf("b"))), ("a+2-b".into(), "a 2 + b -".into()));
    }

    #[test]
    fn what_it_computes_counts_and_not_how() {
        let task = task();
        for index in 0..100 {
            let problem = task.problem(Split::Train, 1, index).unwrap();
            let scores = |text: &str| -> Vec<f64> {
                task.verify(&problem, text).into_iter().map(|c| c.score.unwrap()).collect()
            };
            let gold = task.gold(&problem);
            assert_eq!(scores(&gold), [1.0, 1.0, 1.0], "{gold}");
            assert_eq!(scores(&format!("{gold} 0 +"))[0], 1.0);
            assert_eq!(scores(&format!("{gold} 1 +"))[..2], [0.0, 1.0]);
            assert_eq!(scores(&format!("{gold}\nmore"))[..2], [1.0, 0.0]);
            assert_eq!(scores("")[..2], [0.0, 0.0]);
            let padded = format!("{gold}{}", " 0 +".repeat(6));
            assert_eq!(scores(&padded)[..2], [0.0, 0.0]);
        }
    }

    #[test]
    fn splits_share_no_formula() {
        let task = task();
        let questions = |split, seed| -> HashSet<String> {
            (0..1_000).map(|index| task.problem(split, seed, index).unwrap().plain()).collect()
        };
        let (train, heldout) = (questions(Split::Train, 1), questions(Split::Heldout, 2));
        assert!(train.is_disjoint(&heldout) && train.is_disjoint(&questions(Split::Longer, 3)));
    }
}
