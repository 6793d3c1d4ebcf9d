//! `countdown`: reach a target from given numbers with `+ - * /`, each number at most once.
//!
//! The answer is an expression in `<answer>` tags. It is evaluated exactly: a wrong value, a number that was not given
//! and a number used twice are all wrong answers.

mod expression;
mod search;

use num_rational::Ratio;
use num_traits::ToPrimitive;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use expression::{Evaluation, Refusal, evaluate};
pub use search::{Solution, solve};

use super::keyed::{generator, is_heldout};
use super::{ComponentInfo, Message, Problem, Split, Task};
use crate::error::{Error, Result};
use crate::reward::{Component, Range};

const NAME: &str = "countdown";
const SPLITS: [Split; 3] = [Split::Train, Split::Heldout, Split::Longer];
const HELDOUT_PERCENT: u64 = 10;
const ATTEMPTS: u64 = 5_000;
/// Nodes that the search for a short demonstration may visit before the generator's own solution is taken.
const SEARCH_NODES: u64 = 100_000;

const COMPONENTS: [ComponentInfo; 2] = [
    ComponentInfo {
        name: "correct",
        range: Range::UNIT,
        about: "the expression uses given numbers at most once and equals the target",
    },
    ComponentInfo { name: "format", range: Range::UNIT, about: "an arithmetic expression in <answer> tags" },
];

/// Options of the task `countdown`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountdownOptions {
    /// How many numbers are given in train and held-out problems, smallest and largest.
    pub numbers: [usize; 2],
    /// How many in the split `longer`; the smallest must exceed the largest of `numbers`.
    pub longer: [usize; 2],
    /// Numbers are drawn from 1 to this.
    pub largest: u32,
    /// Targets lie in this range.
    pub target: [u32; 2],
    /// Whether every number must be used.
    pub use_all: bool,
    /// The prompt, with `{numbers}` and `{target}` in it.
    pub prompt: String,
}

impl Default for CountdownOptions {
    fn default() -> Self {
        Self {
            numbers: [3, 4],
            longer: [5, 5],
            largest: 25,
            target: [10, 100],
            use_all: false,
            prompt:
                "Make {target} from the numbers {numbers}. Use + - * / and brackets, and each number at most \
                     once. Reason briefly, then write the expression in tags, like <answer>(1+2)*3</answer>."
                    .to_owned(),
        }
    }
}

/// The task.
pub struct CountdownTask {
    options: CountdownOptions,
}

impl CountdownTask {
    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Option`] names the one that can't be used.
    pub fn new(options: CountdownOptions) -> Result<Self> {
        let refuse = |option: &str, message: &str| Err(Error::option(NAME, option, message));
        let [fewest, most] = options.numbers;
        let [longer_fewest, longer_most] = options.longer;
        if fewest < 2 || fewest > most || most > 6 {
            return refuse("numbers", "must be [smallest, largest] with 2 <= smallest <= largest <= 6");
        }
        if longer_fewest <= most || longer_fewest > longer_most || longer_most > 8 {
            return refuse(
                "longer",
                "must be [smallest, largest] with numbers' largest < smallest <= largest <= 8",
            );
        }
        if !(2..=1_000).contains(&options.largest) {
            return refuse("largest", "must be 2 to 1000");
        }
        if options.target[0] > options.target[1] || options.target[1] > 1_000_000 {
            return refuse("target", "must be [smallest, largest] with smallest <= largest <= 1000000");
        }
        if !options.prompt.contains("{numbers}") || !options.prompt.contains("{target}") {
            return refuse("prompt", "must contain {numbers} and {target}");
        }
        Ok(Self { options })
    }

    /// Numbers with a target that can be reached from them, or nothing if this draw went astray.
    fn draw(&self, split: Split, random: &mut impl Rng) -> Option<(Vec<i64>, Solution)> {
        let [fewest, most] = if split == Split::Longer { self.options.longer } else { self.options.numbers };
        let count = random.random_range(fewest..=most);
        let numbers: Vec<i64> =
            (0..count).map(|_| random.random_range(1..=i64::from(self.options.largest))).collect();
        let mut parts: Vec<Solution> = numbers.iter().map(|&n| Solution::number(n)).collect();
        parts.shuffle(random);
        let used = if self.options.use_all { count } else { random.random_range(2..=count) };
        parts.truncate(used);
        while parts.len() > 1 {
            let (left, right) = (parts.swap_remove(0), parts.pop()?);
            let symbol = ['+', '-', '*', '/'][random.random_range(0..4)];
            let joined = left.combine(symbol, &right)?;
            // Whole numbers above zero only: that is the game, and it keeps the arithmetic in a small model's reach.
            if !joined.value.is_integer() || joined.value <= Ratio::from_integer(0) {
                return None;
            }
            parts.push(joined);
            parts.shuffle(random);
        }
        let solution = parts.pop()?;
        let target = solution.value.to_integer().to_u32()?;
        let wanted = self.options.target[0]..=self.options.target[1];
        (wanted.contains(&target) && !numbers.contains(&i64::from(target))).then_some((numbers, solution))
    }
}

/// The numbers and the target of a problem; `None` for a problem of another task.
fn given(problem: &Problem) -> Option<(Vec<i64>, i64)> {
    let numbers = problem.meta.get("numbers")?.as_array()?.iter().map(serde_json::Value::as_i64);
    Some((numbers.collect::<Option<_>>()?, problem.meta.get("target")?.as_i64()?))
}

/// The text in the last `<answer>` tags.
fn tagged(completion: &str) -> Option<&str> {
    let (_, rest) = completion.rsplit_once("<answer>")?;
    Some(rest.split_once("</answer>")?.0)
}

/// Whether the evaluated expression solves the problem.
fn solves(evaluation: &Evaluation, numbers: &[i64], target: i64, use_all: bool) -> bool {
    let mut left = numbers.to_vec();
    let known = evaluation
        .used
        .iter()
        .all(|used| left.iter().position(|number| number == used).map(|at| left.swap_remove(at)).is_some());
    known && (left.is_empty() || !use_all) && evaluation.value == Ratio::from_integer(target.into())
}

impl Task for CountdownTask {
    fn name(&self) -> &str {
        NAME
    }

    fn description(&self) -> &str {
        "reach a target from given numbers, each at most once; generated"
    }

    fn splits(&self) -> &[Split] {
        &SPLITS
    }

    fn count(&self, _split: Split) -> Result<Option<u64>> {
        Ok(None)
    }

    fn problem(&self, split: Split, seed: u64, index: u64) -> Result<Problem> {
        for attempt in 0..ATTEMPTS {
            let mut random = generator(&format!("{NAME}/{split}"), &[seed, index, attempt]);
            let Some((numbers, found)) = self.draw(split, &mut random) else { continue };
            let target = found.value.to_integer();
            // The order of the numbers doesn't make another problem.
            let mut key = numbers.clone();
            key.sort_unstable();
            if is_heldout(&format!("{key:?} {target}"), HELDOUT_PERCENT) == (split == Split::Train) {
                continue;
            }
            let solution = solve(&numbers, target, self.options.use_all, SEARCH_NODES).unwrap_or(found);
            let listed = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let prompt =
                self.options.prompt.replace("{numbers}", &listed).replace("{target}", &target.to_string());
            return Ok(Problem {
                id: format!("{NAME}/{split}/{seed}/{index}"),
                messages: vec![Message::user(prompt)],
                answer: solution.expression(),
                demonstration: Some(format!(
                    "{}\n<answer>{}</answer>",
                    solution.steps.join("\n"),
                    solution.expression()
                )),
                meta: json!({ "numbers": numbers, "target": target })
                    .as_object()
                    .cloned()
                    .unwrap_or_default(),
            });
        }
        Err(Error::option(
            NAME,
            "target",
            format!("and the other options leave the split {split} empty; allow more numbers or targets"),
        ))
    }

    fn components(&self) -> &[ComponentInfo] {
        &COMPONENTS
    }

    fn verify(&self, problem: &Problem, completion: &str) -> Vec<Component> {
        let evaluation = tagged(completion).and_then(|text| evaluate(text).ok());
        let correct = match (&evaluation, given(problem)) {
            (Some(evaluation), Some((numbers, target))) => {
                solves(evaluation, &numbers, target, self.options.use_all)
            }
            _ => false,
        };
        vec![Component::holds("correct", correct), Component::holds("format", evaluation.is_some())]
    }

    fn gold(&self, problem: &Problem) -> String {
        format!("<answer>{}</answer>", problem.answer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn task(options: CountdownOptions) -> CountdownTask {
        CountdownTask::new(options).unwrap()
    }

    #[test]
    fn demonstrations_and_gold_answers_are_right() {
        for use_all in [false, true] {
            let task = task(CountdownOptions { use_all, ..Default::default() });
            for split in SPLITS {
                for i in 0..40 {
                    let problem = task.problem(split, 3, i).unwrap();
                    for text in [problem.demonstration.clone().unwrap(), task.gold(&problem)] {
                        let scores = task.verify(&problem, &text);
                        assert!(scores.iter().all(|c| c.score == Ok(1.0)), "{problem:?}");
                    }
                    assert!(task.verify(&problem, "").iter().all(|c| c.score == Ok(0.0)));
                }
            }
        }
    }

    #[test]
    fn reuse_foreign_numbers_and_wrong_values_are_refused() {
        let check = |text: &str, use_all| {
            evaluate(text).is_ok_and(|evaluation| solves(&evaluation, &[3, 5, 5, 8], 40, use_all))
        };
        assert!(check("5*8", false));
        assert!(!check("5*8", true));
        assert!(check("(5+3)*5", false));
        assert!(!check("8*5*2/2", false), "2 was not given");
        assert!(!check("3*8+8+8", false), "8 used three times");
        assert!(!check("40", false));
        assert!(!check("5*8-3", false));
        assert!(!check("8*5+0", false), "0 was not given");
    }

    #[test]
    fn splits_are_disjoint_whatever_the_order_of_the_numbers() {
        let options = CountdownOptions { numbers: [2, 2], longer: [3, 3], largest: 12, ..Default::default() };
        let task = task(options);
        let key = |split, seed, n| -> HashSet<(Vec<i64>, i64)> {
            (0..n)
                .map(|i| {
                    let (mut numbers, target) = given(&task.problem(split, seed, i).unwrap()).unwrap();
                    numbers.sort_unstable();
                    (numbers, target)
                })
                .collect()
        };
        let (train, heldout) = (key(Split::Train, 1, 400), key(Split::Heldout, 2, 200));
        assert!(train.len() > 80 && heldout.len() > 5, "{} {}", train.len(), heldout.len());
        assert!(train.is_disjoint(&heldout));
    }

    #[test]
    fn the_last_closed_tag_counts() {
        assert_eq!(tagged("<answer>1</answer> no: <answer>2</answer>"), Some("2"));
        assert_eq!(tagged("<answer>1</answer> <answer>2"), None);
        assert_eq!(tagged("1+2"), None);
    }
}
