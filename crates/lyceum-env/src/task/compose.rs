//! `compose`: a line of words to order, judged in points (the world of DAR, arXiv 2504.14177; ours).
//!
//! ```text
//! use fox sun tea, 5-7 words     the question
//! fox red sun tea big            an answer; the judge gives it up to ten points
//! ```
//!
//! | points | for |
//! |---|---|
//! | 5 | the share of the wanted words that are used |
//! | 2 | the share of neighbouring wanted words that come in their order |
//! | 2 | the number of words: all inside the band, none three words away from it |
//! | 1 | no word twice |
//!
//! A line with a word that is not in the list of words loses half its points. Demonstrations are mediocre on purpose: the
//! policy has something to learn that imitation does not teach.

use std::collections::HashSet;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::keyed::{generator, is_heldout};
use super::{ComponentInfo, Message, Preference, Problem, Split, Task, no_split};
use crate::error::{Error, Result};
use crate::reward::{Component, Range};

const NAME: &str = "compose";
const SPLITS: [Split; 2] = [Split::Train, Split::Heldout];
const HELDOUT_PERCENT: u64 = 10;
const ATTEMPTS: u64 = 2_000;
const WORDS: [&str; 40] = [
    "ant", "bag", "bed", "big", "box", "bus", "cat", "cow", "cup", "day", "dog", "egg", "eye", "fan", "fig",
    "fox", "gem", "hat", "hen", "ice", "ink", "jar", "key", "lip", "map", "net", "nut", "oak", "owl", "pan",
    "pen", "pig", "red", "sea", "sky", "sun", "tea", "toy", "van", "wax",
];

const COMPONENTS: [ComponentInfo; 4] = [
    ComponentInfo { name: "correct", range: Range::UNIT, about: "all ten points" },
    ComponentInfo { name: "score", range: Range::UNIT, about: "the judge's points, over ten" },
    ComponentInfo { name: "used", range: Range::UNIT, about: "share of the wanted words that are used" },
    ComponentInfo {
        name: "distinct",
        range: Range::UNIT,
        about: "share of words that were not there before",
    },
];

/// Options of the task `compose`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ComposeOptions {
    /// Words that are wanted, least and most.
    pub wanted: [usize; 2],
    /// Chance that a demonstration leaves out a wanted word.
    pub dropped: f64,
    /// Chance that the words of a demonstration are shuffled.
    pub shuffled: f64,
    /// Chance that a preference is turned round.
    pub label_noise: f64,
}

impl Default for ComposeOptions {
    fn default() -> Self {
        Self { wanted: [3, 4], dropped: 0.25, shuffled: 0.4, label_noise: 0.0 }
    }
}

/// What a question asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    wanted: Vec<String>,
    /// Least and most words.
    band: [usize; 2],
}

/// What the judge sees in a line.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Judgement {
    score: f64,
    used: f64,
    distinct: f64,
}

impl Order {
    fn judge(&self, line: &str) -> Judgement {
        let words: Vec<&str> = line.split_whitespace().collect();
        let places: Vec<Option<usize>> =
            self.wanted.iter().map(|wanted| words.iter().position(|word| word == wanted)).collect();
        let used = places.iter().flatten().count() as f64 / self.wanted.len().max(1) as f64;
        let ordered = |pair: &&[Option<usize>]| matches!(pair, [Some(a), Some(b)] if a < b);
        let pairs = self.wanted.len().saturating_sub(1).max(1) as f64;
        let order = places.windows(2).filter(ordered).count() as f64 / pairs;
        let [least, most] = self.band;
        let off = least.saturating_sub(words.len()).max(words.len().saturating_sub(most));
        let length = 1.0 - off.min(3) as f64 / 3.0;
        let different: HashSet<&str> = words.iter().copied().collect();
        let distinct = different.len() as f64 / words.len().max(1) as f64;
        let once = if different.len() == words.len() { 1.0 } else { 0.0 };
        let known = words.iter().all(|word| WORDS.contains(word));
        let points = match words.is_empty() {
            true => 0.0,
            false => (5.0 * used + 2.0 * order + 2.0 * length + once) * if known { 1.0 } else { 0.5 },
        };
        Judgement { score: points / 10.0, used, distinct }
    }

    fn of(problem: &Problem) -> Option<Self> {
        serde_json::from_value(problem.meta.get("order")?.clone()).ok()
    }
}

/// The task.
pub struct ComposeTask {
    options: ComposeOptions,
}

impl ComposeTask {
    /// The task with these options.
    ///
    /// # Errors
    /// [`Error::Option`] naming the option.
    pub fn new(options: ComposeOptions) -> Result<Self> {
        let refuse = |option: &str, message: &str| Err(Error::option(NAME, option, message));
        if options.wanted[0] == 0 || options.wanted[0] > options.wanted[1] || options.wanted[1] > 8 {
            return refuse("wanted", "must be the least and the most, between 1 and 8");
        }
        for (name, chance) in [
            ("dropped", options.dropped),
            ("shuffled", options.shuffled),
            ("label_noise", options.label_noise),
        ] {
            if !(0.0..=1.0).contains(&chance) {
                return refuse(name, "must be a chance between 0 and 1");
            }
        }
        Ok(Self { options })
    }

    fn mediocre(&self, order: &Order, random: &mut ChaCha8Rng) -> String {
        let mut words: Vec<&str> = order.wanted.iter().map(String::as_str).collect();
        words.retain(|_| !random.random_bool(self.options.dropped));
        for _ in 0..random.random_range(0..=3) {
            let at = random.random_range(0..=words.len());
            words.insert(at, WORDS[random.random_range(0..WORDS.len())]);
        }
        if random.random_bool(self.options.shuffled) {
            words.shuffle(random);
        }
        if words.is_empty() {
            words.push(WORDS[random.random_range(0..WORDS.len())]);
        }
        words.join(" ")
    }
}

impl Task for ComposeTask {
    fn name(&self) -> &str {
        NAME
    }

    fn description(&self) -> &str {
        "a line of words to order, judged in points; generated"
    }

    fn splits(&self) -> &[Split] {
        &SPLITS
    }

    fn count(&self, split: Split) -> Result<Option<u64>> {
        if SPLITS.contains(&split) { Ok(None) } else { Err(no_split(NAME, split, &SPLITS)) }
    }

    fn problem(&self, split: Split, seed: u64, index: u64) -> Result<Problem> {
        self.count(split)?;
        for attempt in 0..ATTEMPTS {
            let mut random = generator(&format!("{NAME}/{split}"), &[seed, index, attempt]);
            let [least, most] = self.options.wanted;
            let count = random.random_range(least..=most);
            let mut words = WORDS;
            let (chosen, _) = words.partial_shuffle(&mut random, count);
            let wanted: Vec<String> = chosen.iter().map(ToString::to_string).collect();
            let from = count + random.random_range(0..=2);
            let order = Order { wanted, band: [from, from + 2] };
            let question = format!("use {}, {}-{} words\n", order.wanted.join(" "), from, from + 2);
            if is_heldout(&question, HELDOUT_PERCENT) == (split == Split::Train) {
                continue;
            }
            let others = WORDS.iter().filter(|word| order.wanted.iter().all(|wanted| wanted != *word));
            let perfect: Vec<&str> =
                order.wanted.iter().map(String::as_str).chain(others.copied()).take(from).collect();
            let meta = json!({ "order": order });
            return Ok(Problem {
                id: format!("{NAME}/{split}/{seed}/{index}"),
                messages: vec![Message::user(question)],
                answer: perfect.join(" "),
                demonstration: Some(self.mediocre(&order, &mut random)),
                meta: meta.as_object().cloned().unwrap_or_default(),
            });
        }
        Err(Error::option(NAME, "wanted", format!("leaves the split {split} empty; allow more")))
    }

    fn components(&self) -> &[ComponentInfo] {
        &COMPONENTS
    }

    fn verify(&self, problem: &Problem, completion: &str) -> Vec<Component> {
        let line = completion.trim().lines().next().unwrap_or_default();
        let found = Order::of(problem).map(|order| order.judge(line));
        let found = found.unwrap_or(Judgement { score: 0.0, used: 0.0, distinct: 0.0 });
        vec![
            Component::holds("correct", found.score > 1.0 - 1e-9),
            Component::unit("score", found.score),
            Component::unit("used", found.used),
            Component::unit("distinct", found.distinct),
        ]
    }

    fn gold(&self, problem: &Problem) -> String {
        problem.answer.clone()
    }

    fn preference(&self, problem: &Problem) -> Option<Preference> {
        let order = Order::of(problem)?;
        let mut random = generator(&format!("{NAME}/preference/{}", problem.id), &[]);
        for _ in 0..ATTEMPTS {
            let [one, other] = [(); 2].map(|()| self.mediocre(&order, &mut random));
            let (a, b) = (order.judge(&one).score, order.judge(&other).score);
            if (a - b).abs() > 1e-9 {
                let first = (a > b) ^ random.random_bool(self.options.label_noise);
                let (chosen, rejected) = if first { (one, other) } else { (other, one) };
                return Some(Preference { chosen, rejected });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(wanted: &str, band: [usize; 2]) -> Order {
        Order { wanted: wanted.split(' ').map(str::to_owned).collect(), band }
    }

    #[test]
    fn points_by_worked_examples() {
        let order = order("fox sun tea", [5, 7]);
        let points = |line: &str| (order.judge(line).score * 1e4).round() / 1e3;
        assert_eq!(points("fox red sun tea big"), 10.0);
        // One of two pairs in order.
        assert_eq!(points("sun tea fox red big"), 9.0);
        // Two of three words, one of two pairs, two words short.
        assert_eq!(points("fox red sun"), 3.333 + 1.0 + 0.667 + 1.0);
        // A word twice; a word from elsewhere.
        assert_eq!(points("fox red sun tea tea"), 9.0);
        assert_eq!(points("fox red sun tea blue"), 5.0);
        assert_eq!(points(""), 0.0);
        assert_eq!(points("ant ant ant ant ant ant ant ant ant ant ant"), 0.0);
    }

    #[test]
    fn demonstrations_are_mediocre_and_preferences_are_right() {
        let task = ComposeTask::new(ComposeOptions::default()).unwrap();
        let mut sum = 0.0;
        for index in 0..300 {
            let problem = task.problem(Split::Train, 1, index).unwrap();
            let order = Order::of(&problem).unwrap();
            sum += order.judge(problem.demonstration.as_deref().unwrap()).score;
            assert_eq!(task.verify(&problem, &task.gold(&problem))[0].score, Ok(1.0));
            let preference = task.preference(&problem).unwrap();
            assert!(order.judge(&preference.chosen).score > order.judge(&preference.rejected).score);
        }
        assert!((0.35..0.75).contains(&(sum / 300.0)), "{}", sum / 300.0);
    }
}
