//! `chain`: multi-step integer arithmetic, one step a line.
//!
//! ```text
//! 37 +5 *3 -41        the question: start with 37, add 5, times 3, minus 41 (here modulo 100)
//! 37+5=42             a step
//! so 42               a filler line: legal, states where we stand, changes nothing
//! 42*3=26
//! 26-41=85
//! answer 85           the end
//! ```
//!
//! Every line can be judged alone ([`label_steps`]), which gives process rewards an oracle; the filler line gives a
//! model something to pad with, which is how sum-form process rewards are hacked (PURE, arXiv 2504.15275).

mod arithmetic;
mod attempt;
mod label;

use std::borrow::Cow;

use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use arithmetic::{Chain, Operator};
pub use label::{StepKind, StepLabel, label_steps};

use self::attempt::attempt;
use super::keyed::{generator, is_heldout};
use super::{Attempt, ComponentInfo, JudgedStep, Message, Problem, Split, Task};
use crate::error::{Error, Result};
use crate::reward::{Component, Range};

const NAME: &str = "chain";
const SPLITS: [Split; 3] = [Split::Train, Split::Heldout, Split::Longer];
const HELDOUT_PERCENT: u64 = 10;
/// Draws before a split counts as empty. Each lands on the wanted side with probability 0.1 or more.
const ATTEMPTS: u64 = 2_000;

const COMPONENTS: [ComponentInfo; 3] = [
    ComponentInfo { name: "correct", range: Range::UNIT, about: "the first answer line is right" },
    ComponentInfo {
        name: "format",
        range: Range::UNIT,
        about: "only steps and fillers, then one answer line at the end",
    },
    ComponentInfo { name: "filler", range: Range::UNIT, about: "share of lines that are fillers" },
];

/// Options of the task `chain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChainOptions {
    /// Steps of train and held-out problems, smallest and largest.
    pub steps: [usize; 2],
    /// Steps of the split `longer`; the smallest must exceed the largest of `steps`.
    pub longer: [usize; 2],
    /// Results are taken modulo this number; 0 for plain integers.
    pub modulus: u32,
    /// Start numbers and terms are drawn from 0 (terms from 1) to this number.
    pub largest: u32,
    /// Factors are drawn from 2 to this number.
    pub largest_factor: u32,
    /// The operators in use, out of `+-*`.
    pub operators: String,
    /// Chance of a filler line before each step of a demonstration.
    pub filler: f64,
    /// Chance of a wrong result in each step of a demonstration: what imitates it knows better than it samples.
    pub slips: f64,
    /// Chance of a mistake in each step of an attempt (the judged solutions that a process reward model learns from).
    pub mistakes: f64,
    /// Chance of a filler line before each step of an attempt.
    pub attempt_filler: f64,
    /// Whether a filler line that says the truth is judged right, or wrong as it is no progress.
    pub filler_is_right: bool,
    /// The prompt, with `{question}` in it.
    pub prompt: String,
}

impl Default for ChainOptions {
    fn default() -> Self {
        Self {
            steps: [2, 4],
            longer: [5, 6],
            modulus: 100,
            largest: 99,
            largest_factor: 9,
            operators: "+-*".to_owned(),
            filler: 0.0,
            slips: 0.0,
            mistakes: 0.25,
            attempt_filler: 0.0,
            filler_is_right: true,
            prompt: "{question}\n".to_owned(),
        }
    }
}

/// The task.
pub struct ChainTask {
    options: ChainOptions,
    operators: Vec<Operator>,
}

impl ChainTask {
    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Option`] names the one that can't be used.
    pub fn new(options: ChainOptions) -> Result<Self> {
        let refuse = |option: &str, message: &str| Err(Error::option(NAME, option, message));
        let [fewest, most] = options.steps;
        let [longer_fewest, longer_most] = options.longer;
        if fewest == 0 || fewest > most || most > 64 {
            return refuse("steps", "must be [smallest, largest] with 1 <= smallest <= largest <= 64");
        }
        if longer_fewest <= most || longer_fewest > longer_most || longer_most > 64 {
            return refuse(
                "longer",
                "must be [smallest, largest] with steps' largest < smallest <= largest <= 64",
            );
        }
        if options.modulus == 1 || options.modulus > 1_000_000 {
            return refuse("modulus", "must be 0 (plain integers) or 2 to 1000000");
        }
        if options.largest == 0 || options.largest > 1_000_000 {
            return refuse("largest", "must be 1 to 1000000");
        }
        if !(2..=1_000).contains(&options.largest_factor) {
            return refuse("largest_factor", "must be 2 to 1000");
        }
        let chances = [
            ("filler", options.filler),
            ("mistakes", options.mistakes),
            ("attempt_filler", options.attempt_filler),
        ];
        for (name, chance) in chances {
            if !(0.0..1.0).contains(&chance) {
                return refuse(name, "must be a chance: at least 0 and less than 1");
            }
        }
        if !options.prompt.contains("{question}") {
            return refuse("prompt", "must contain {question}");
        }
        let operators: Option<Vec<Operator>> = options.operators.chars().map(Operator::from_symbol).collect();
        match operators {
            Some(operators) if !operators.is_empty() => Ok(Self { options, operators }),
            _ => refuse("operators", "must be one or more of the characters + - *"),
        }
    }

    fn draw(&self, steps: [usize; 2], random: &mut impl Rng) -> Chain {
        let modulus = i64::from(self.options.modulus);
        let largest = i64::from(self.options.largest);
        let start = random.random_range(0..=if modulus > 0 { largest.min(modulus - 1) } else { largest });
        let mut chain = Chain { start, steps: Vec::new(), modulus };
        let mut value = start;
        for _ in 0..random.random_range(steps[0]..=steps[1]) {
            let mut operator = self.operators[random.random_range(0..self.operators.len())];
            let factor = random.random_range(2..=i64::from(self.options.largest_factor));
            let term = random.random_range(1..=largest);
            // Plain integers must stay small: a product that would run away becomes a sum.
            if modulus == 0 && operator == Operator::Times && (value * factor).abs() > 10 * largest {
                operator = if value > 0 { Operator::Minus } else { Operator::Plus };
            }
            let operand = if operator == Operator::Times { factor } else { term };
            value = chain.apply(value, operator, operand);
            chain.steps.push((operator, operand));
        }
        chain
    }

    fn demonstration(&self, chain: &Chain, random: &mut impl Rng) -> String {
        let mut text = String::new();
        let mut value = chain.start;
        for &(operator, operand) in &chain.steps {
            if self.options.filler > 0.0 && random.random_bool(self.options.filler) {
                text.push_str(&format!("so {value}\n"));
            }
            let mut next = chain.apply(value, operator, operand);
            if self.options.slips > 0.0 && random.random_bool(self.options.slips) {
                let modulus = if chain.modulus > 0 { chain.modulus } else { 100 };
                next = (next + random.random_range(1..modulus)).rem_euclid(modulus);
            }
            text.push_str(&format!("{value}{operator}{operand}={next}\n"));
            value = next;
        }
        text + &format!("answer {value}")
    }
}

impl Task for ChainTask {
    fn name(&self) -> &str {
        NAME
    }

    fn description(&self) -> &str {
        "multi-step integer arithmetic, one step a line; generated"
    }

    fn splits(&self) -> &[Split] {
        &SPLITS
    }

    fn count(&self, _split: Split) -> Result<Option<u64>> {
        Ok(None)
    }

    fn problem(&self, split: Split, seed: u64, index: u64) -> Result<Problem> {
        let steps = if split == Split::Longer { self.options.longer } else { self.options.steps };
        // The side is decided by the question's hash alone, so no seed can move a held-out problem into training.
        for attempt in 0..ATTEMPTS {
            let mut random = generator(&format!("{NAME}/{split}"), &[seed, index, attempt]);
            let chain = self.draw(steps, &mut random);
            let question = chain.to_string();
            if is_heldout(&question, HELDOUT_PERCENT) == (split == Split::Train) {
                continue;
            }
            let meta = json!({ "question": question, "steps": chain.steps.len(), "modulus": chain.modulus });
            return Ok(Problem {
                id: format!("{NAME}/{split}/{seed}/{index}"),
                messages: vec![Message::user(self.options.prompt.replace("{question}", &question))],
                answer: chain.value().to_string(),
                demonstration: Some(self.demonstration(&chain, &mut random)),
                meta: meta.as_object().cloned().unwrap_or_default(),
            });
        }
        Err(Error::option(
            NAME,
            "largest",
            format!(
                "and the other options leave the split {split} empty; allow more steps or larger numbers"
            ),
        ))
    }

    fn components(&self) -> &[ComponentInfo] {
        &COMPONENTS
    }

    fn verify(&self, problem: &Problem, completion: &str) -> Vec<Component> {
        let labels = Chain::of(problem).map(|chain| label_steps(&chain, completion)).unwrap_or_default();
        let answer = labels.iter().position(|step| step.answer.is_some());
        let stated = answer.and_then(|i| labels[i].answer);
        let correct = stated.is_some_and(|number| number.to_string() == problem.answer);
        let format = answer.is_some_and(|i| i + 1 == labels.len())
            && labels.iter().all(|step| step.kind != StepKind::Malformed);
        let fillers = labels.iter().filter(|step| step.kind == StepKind::Filler).count();
        let share = fillers as f64 / labels.len().max(1) as f64;
        vec![
            Component::holds("correct", correct),
            Component::holds("format", format),
            Component::checked(Cow::Borrowed("filler"), Range::UNIT, share),
        ]
    }

    fn gold(&self, problem: &Problem) -> String {
        format!("answer {}", problem.answer)
    }

    fn attempt(&self, problem: &Problem) -> Option<Attempt> {
        let chain = Chain::of(problem)?;
        let random = &mut generator(&format!("{NAME}/attempt/{}", problem.id), &[]);
        Some(Attempt { steps: attempt(&chain, &self.options, random), ended: true })
    }

    fn judge(&self, problem: &Problem, steps: &[&str]) -> Option<Vec<f64>> {
        let chain = Chain::of(problem)?;
        let lines: Vec<&str> = steps.iter().map(|step| step.strip_suffix('\n').unwrap_or(step)).collect();
        let labels = label_steps(&chain, &lines.join("\n"));
        // A step that holds several lines is as good as its worst; what comes after the text is malformed.
        let mut labels = labels.iter();
        let judge = |line: &&str| {
            let own: Vec<&StepLabel> = labels.by_ref().take(line.split('\n').count()).collect();
            let is_right = |label: &&StepLabel| match label.kind {
                StepKind::Correct => true,
                StepKind::Filler => self.options.filler_is_right,
                StepKind::Wrong | StepKind::Malformed => false,
            };
            let right = !own.is_empty() && own.iter().all(is_right);
            if right { 1.0 } else { -1.0 }
        };
        Some(lines.iter().map(judge).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn task(options: ChainOptions) -> ChainTask {
        ChainTask::new(options).unwrap()
    }

    #[test]
    fn steps_are_judged_one_by_one() {
        let task = task(ChainOptions::default());
        let meta = json!({ "question": "37 +5 *3 -41", "modulus": 100 });
        let problem =
            Problem { meta: meta.as_object().unwrap().clone(), ..task.problem(Split::Train, 0, 0).unwrap() };
        let judge = |steps: &[&str]| task.judge(&problem, steps).unwrap();
        assert_eq!(
            judge(&["37+5=42\n", "so 42\n", "42*3=27\n", "27-41=86\n", "answer 86"]),
            [1.0, 1.0, -1.0, 1.0, 1.0]
        );
        assert_eq!(judge(&["37+5=42\n42*3=26", "\n", "nonsense\n", "\n"]), [1.0, -1.0, -1.0, -1.0]);
        assert_eq!(judge(&["37+5=43\n43*3=29\n"]), [-1.0]);
        assert_eq!(judge(&[]), Vec::<f64>::new());
    }

    fn questions(task: &ChainTask, split: Split, seed: u64, n: u64) -> HashSet<String> {
        (0..n).map(|i| task.problem(split, seed, i).unwrap().plain()).collect()
    }

    #[test]
    fn splits_share_no_problem_whatever_the_seed() {
        // Few problems in all (about 1600), so that an overlap would show.
        let task = task(ChainOptions { steps: [1, 1], longer: [2, 2], largest: 9, ..Default::default() });
        let train = questions(&task, Split::Train, 1, 3_000);
        let heldout = questions(&task, Split::Heldout, 2, 1_000);
        let longer = questions(&task, Split::Longer, 3, 1_000);
        assert!(train.len() > 150 && heldout.len() > 10 && longer.len() > 100);
        assert!(train.is_disjoint(&heldout) && train.is_disjoint(&longer) && heldout.is_disjoint(&longer));
    }

    #[test]
    fn a_problem_is_a_function_of_split_seed_and_number() {
        let task = task(ChainOptions { filler: 0.5, ..Default::default() });
        let problem = |seed, i| task.problem(Split::Train, seed, i).unwrap();
        assert_eq!(problem(7, 3), problem(7, 3));
        assert_ne!(problem(7, 3).plain(), problem(8, 3).plain());
        assert_ne!(problem(7, 3).plain(), problem(7, 4).plain());
        // Pinned: a change here changes every run.
        assert_eq!(problem(0, 0).plain(), "58 -81 *6 +91 -83\n");
    }

    #[test]
    fn demonstrations_are_right_with_and_without_modulus_and_fillers() {
        for (modulus, filler) in [(100, 0.0), (0, 0.0), (100, 0.4), (0, 0.4), (7, 0.9)] {
            let task = task(ChainOptions { modulus, filler, ..Default::default() });
            for split in SPLITS {
                for i in 0..50 {
                    let problem = task.problem(split, 0, i).unwrap();
                    let demonstration = problem.demonstration.clone().unwrap();
                    let chain = Chain::of(&problem).unwrap();
                    assert!(label_steps(&chain, &demonstration).iter().all(|l| l.sound), "{demonstration}");
                    let scores = task.verify(&problem, &demonstration);
                    assert_eq!((scores[0].score.clone(), scores[1].score.clone()), (Ok(1.0), Ok(1.0)));
                    assert_eq!(scores[2].score.clone().unwrap() > 0.0, demonstration.contains("so "));
                }
            }
        }
    }

    #[test]
    fn only_the_first_answer_line_counts() {
        let task = task(ChainOptions::default());
        let problem = task.problem(Split::Train, 0, 0).unwrap();
        let correct = |text: &str| task.verify(&problem, text)[0].score.clone().unwrap();
        let (right, wrong) = (task.gold(&problem), "answer 1000");
        assert_eq!(correct(&right), 1.0);
        assert_eq!(correct(&format!("{right}\nanswer 1")), 1.0);
        assert_eq!(correct(&format!("{wrong}\n{right}")), 0.0);
        assert_eq!(correct(""), 0.0);
        assert_eq!(correct(&problem.answer), 0.0);
    }

    #[test]
    fn bad_options_are_named() {
        let refusal = |options: ChainOptions| ChainTask::new(options).err().unwrap().to_string();
        let base = ChainOptions::default;
        assert!(refusal(ChainOptions { steps: [3, 2], ..base() }).contains("`steps`"));
        assert!(refusal(ChainOptions { longer: [4, 6], ..base() }).contains("`longer`"));
        assert!(refusal(ChainOptions { modulus: 1, ..base() }).contains("`modulus`"));
        assert!(refusal(ChainOptions { operators: "+/".into(), ..base() }).contains("`operators`"));
        assert!(refusal(ChainOptions { operators: String::new(), ..base() }).contains("`operators`"));
        assert!(refusal(ChainOptions { filler: f64::NAN, ..base() }).contains("`filler`"));
        assert!(refusal(ChainOptions { prompt: "?".into(), ..base() }).contains("`prompt`"));
    }
}
