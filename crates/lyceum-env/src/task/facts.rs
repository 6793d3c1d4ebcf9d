//! `facts`: questions that need a tool, and questions that don't (the world of OTC, arXiv 2504.14870; ours).
//!
//! ```text
//! kind     question   least calls
//! known    k17?       0   one of a few facts that a model can learn by heart
//! lookup   h805?      1   one of many facts that only the store has
//! hops     g12?       2   the store says h805 of g12, and 43 of h805
//! small    3+8?       0   a sum that can be learnt by heart
//! large    417+586?   1   a sum for the calculator
//! ```
//!
//! The answer is a line `=43`. What can be learnt by heart can't be held out: the splits share the questions of `known` and
//! `small`, and no others. Demonstrations are wasteful: they call more often than they need, and sometimes end in a slip.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::keyed::{fingerprint, generator, is_heldout};
use super::{ComponentInfo, Message, Problem, Split, Task, no_split};
use crate::error::{Error, Result};
use crate::reward::{Component, Range};

const NAME: &str = "facts";
const SPLITS: [Split; 2] = [Split::Train, Split::Heldout];
const HELDOUT_PERCENT: u64 = 10;
const ATTEMPTS: u64 = 2_000;
const KINDS: [&str; 5] = ["known", "lookup", "hops", "small", "large"];

const COMPONENTS: [ComponentInfo; 2] = [
    ComponentInfo {
        name: "correct",
        range: Range::UNIT,
        about: "the first line that begins with = is right",
    },
    ComponentInfo { name: "format", range: Range::UNIT, about: "one line, which begins with =" },
];

/// Options of the task `facts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactsOptions {
    /// The kinds of questions, which take turns.
    pub kinds: Vec<String>,
    /// Facts to be learnt by heart.
    pub known: u32,
    /// Facts that only the store has.
    pub hidden: u32,
    /// Largest operand of small sums.
    pub small: u32,
    /// Largest operand of large sums.
    pub large: u32,
    /// What calls the store, and what the calculator, in demonstrations: the tools' tags.
    pub tags: [String; 2],
    /// Calls beyond what is needed in a demonstration, least and most; never more than four in all.
    pub waste: [usize; 2],
    /// Chance that a demonstration of what can be known by heart calls nothing.
    pub direct: f64,
    /// Chance that a demonstration ends in another number.
    pub slips: f64,
}

impl Default for FactsOptions {
    fn default() -> Self {
        Self {
            kinds: KINDS.map(str::to_owned).to_vec(),
            known: 24,
            hidden: 2_000,
            small: 9,
            large: 999,
            tags: ["s".into(), "c".into()],
            waste: [1, 3],
            direct: 0.3,
            slips: 0.0,
        }
    }
}

/// Most calls of a demonstration.
const MOST_CALLS: usize = 4;

/// The task.
pub struct FactsTask {
    options: FactsOptions,
}

/// What is asked, what is right, and the calls that lead there: (which tag, argument).
struct Asked {
    question: String,
    answer: String,
    calls: Vec<(usize, String)>,
    /// Whether it can be answered by heart.
    by_heart: bool,
}

impl FactsTask {
    /// The task with these options.
    ///
    /// # Errors
    /// [`Error::Option`] naming the option.
    pub fn new(options: FactsOptions) -> Result<Self> {
        let refuse = |option: &str, message: &str| Err(Error::option(NAME, option, message));
        if options.kinds.is_empty() || options.kinds.iter().any(|kind| !KINDS.contains(&kind.as_str())) {
            return refuse("kinds", &format!("must be some of {}", KINDS.join(", ")));
        }
        if options.known == 0 || options.hidden < 10 {
            return refuse("hidden", "must be at least 10, and known at least 1");
        }
        if options.small >= options.large {
            return refuse("large", "must be larger than small");
        }
        if options.waste[0] > options.waste[1] {
            return refuse("waste", "must be the least and the most");
        }
        if [options.direct, options.slips].iter().any(|chance| !(0.0..=1.0).contains(chance)) {
            return refuse("slips", "and direct must be chances between 0 and 1");
        }
        Ok(Self { options })
    }

    fn ask(&self, kind: &str, random: &mut ChaCha8Rng) -> Asked {
        let FactsOptions { known, hidden, small, large, .. } = self.options;
        let plain = |key: String, by_heart| Asked {
            question: format!("{key}?\n"),
            answer: value_of(&key),
            calls: vec![(0, key)],
            by_heart,
        };
        let sum = |a: u32, b: u32, by_heart| Asked {
            question: format!("{a}+{b}?\n"),
            answer: (a + b).to_string(),
            calls: vec![(1, format!("{a}+{b}"))],
            by_heart,
        };
        match kind {
            "known" => plain(format!("k{}", random.random_range(0..known)), true),
            "lookup" => plain(format!("h{}", random.random_range(0..hidden)), false),
            "hops" => {
                let key = format!("g{}", random.random_range(0..hidden));
                let via = next_of(&key, hidden);
                Asked {
                    question: format!("{key}?\n"),
                    answer: value_of(&via),
                    calls: vec![(0, key), (0, via)],
                    by_heart: false,
                }
            }
            "small" => sum(random.random_range(0..=small), random.random_range(0..=small), true),
            _ => sum(random.random_range(small + 1..=large), random.random_range(small + 1..=large), false),
        }
    }

    fn demonstration(&self, asked: &Asked, random: &mut ChaCha8Rng) -> String {
        let FactsOptions { tags, waste, direct, slips, .. } = &self.options;
        let mut text = String::new();
        if !(asked.by_heart && random.random_bool(*direct)) {
            let extra = random.random_range(waste[0]..=waste[1]).min(MOST_CALLS - asked.calls.len());
            let mut times = vec![1; asked.calls.len()];
            (0..extra).for_each(|_| times[random.random_range(0..asked.calls.len())] += 1);
            for ((tag, argument), times) in asked.calls.iter().zip(times) {
                let tag = &tags[*tag];
                text.push_str(&format!("<{tag}>{argument}</{tag}>").repeat(times));
            }
        }
        let slip = random.random_bool(*slips);
        let answer = if slip { random.random_range(10..100).to_string() } else { asked.answer.clone() };
        text + "=" + &answer
    }
}

/// The two digits that the store has for a key.
fn value_of(key: &str) -> String {
    (fingerprint(&format!("{NAME}/{key}")) % 90 + 10).to_string()
}

/// The key that the store has for a key of the first hop.
fn next_of(key: &str, hidden: u32) -> String {
    format!("h{}", fingerprint(&format!("{NAME}/{key}")) % u64::from(hidden))
}

/// What a completion states: the rest of the first line that begins with `=`, calls that stand before it aside.
fn stated(completion: &str) -> Option<&str> {
    let after_calls = |line| str::rsplit(line, '>').next().unwrap_or_default().trim().strip_prefix('=');
    completion.lines().find_map(after_calls).map(str::trim)
}

impl Task for FactsTask {
    fn name(&self) -> &str {
        NAME
    }

    fn description(&self) -> &str {
        "facts and sums, some known by heart and some only by tools; generated"
    }

    fn splits(&self) -> &[Split] {
        &SPLITS
    }

    fn count(&self, split: Split) -> Result<Option<u64>> {
        if SPLITS.contains(&split) { Ok(None) } else { Err(no_split(NAME, split, &SPLITS)) }
    }

    fn problem(&self, split: Split, seed: u64, index: u64) -> Result<Problem> {
        self.count(split)?;
        let kinds = &self.options.kinds;
        let kind = &kinds[(index % kinds.len() as u64) as usize];
        for attempt in 0..ATTEMPTS {
            let mut random = generator(&format!("{NAME}/{split}"), &[seed, index, attempt]);
            let asked = self.ask(kind, &mut random);
            if !asked.by_heart && is_heldout(&asked.question, HELDOUT_PERCENT) == (split == Split::Train) {
                continue;
            }
            let calls = if asked.by_heart { 0 } else { asked.calls.len() };
            let meta = json!({ "kind": kind, "calls": calls });
            return Ok(Problem {
                id: format!("{NAME}/{split}/{seed}/{index}"),
                messages: vec![Message::user(asked.question.as_str())],
                answer: asked.answer.clone(),
                demonstration: Some(self.demonstration(&asked, &mut random)),
                meta: meta.as_object().cloned().unwrap_or_default(),
            });
        }
        let message = format!("leaves the split {split} empty of {kind}; allow more");
        Err(Error::option(NAME, "hidden", message))
    }

    fn components(&self) -> &[ComponentInfo] {
        &COMPONENTS
    }

    fn verify(&self, problem: &Problem, completion: &str) -> Vec<Component> {
        let text = completion.trim();
        vec![
            Component::holds("correct", stated(text) == Some(problem.answer.as_str())),
            Component::holds("format", text.starts_with('=') && text.lines().count() == 1),
        ]
    }

    fn gold(&self, problem: &Problem) -> String {
        format!("={}", problem.answer)
    }

    fn documents(&self) -> Vec<(String, String)> {
        let FactsOptions { known, hidden, .. } = self.options;
        let plain = (0..known).map(|n| format!("k{n}")).chain((0..hidden).map(|n| format!("h{n}")));
        let facts = plain.map(|key| (key.clone(), value_of(&key)));
        let hops = (0..hidden).map(|n| format!("g{n}")).map(|key| (key.clone(), next_of(&key, hidden)));
        facts.chain(hops).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn task(options: FactsOptions) -> FactsTask {
        FactsTask::new(options).unwrap()
    }

    #[test]
    fn the_store_leads_to_every_answer() {
        let task = task(FactsOptions::default());
        let store: HashMap<String, String> = task.documents().into_iter().collect();
        for index in 0..200 {
            let problem = task.problem(Split::Train, 1, index).unwrap();
            let key = problem.plain().trim_end_matches("?\n").to_owned();
            let found = match problem.meta["kind"].as_str().unwrap() {
                "known" | "lookup" => store[&key].clone(),
                "hops" => store[&store[&key]].clone(),
                _ => key.split('+').map(|n| n.parse::<u32>().unwrap()).sum::<u32>().to_string(),
            };
            assert_eq!(found, problem.answer);
        }
    }

    #[test]
    fn demonstrations_waste_calls_and_never_too_many() {
        let task = task(FactsOptions { slips: 0.0, ..FactsOptions::default() });
        let mut direct = HashMap::<String, usize>::new();
        for index in 0..500 {
            let problem = task.problem(Split::Train, 1, index).unwrap();
            let demonstration = problem.demonstration.clone().unwrap();
            let calls = demonstration.matches("</").count();
            let needed = problem.meta["calls"].as_u64().unwrap() as usize;
            let kind = problem.meta["kind"].as_str().unwrap().to_owned();
            assert!(calls <= MOST_CALLS && (calls > needed || needed == 0), "{demonstration}");
            *direct.entry(kind).or_default() += usize::from(calls == 0);
            let last = demonstration.rsplit('>').next().unwrap();
            assert_eq!(task.verify(&problem, last)[0].score, Ok(1.0));
        }
        assert!(direct["known"] > 10 && direct["small"] > 10);
        assert_eq!((direct["lookup"], direct["hops"], direct["large"]), (0, 0, 0));
    }

    #[test]
    fn only_what_is_known_by_heart_is_in_both_splits() {
        let task = task(FactsOptions::default());
        let questions = |split, seed| -> HashSet<(String, String)> {
            let one = |index| {
                let problem = task.problem(split, seed, index).unwrap();
                (problem.meta["kind"].to_string(), problem.plain())
            };
            (0..4_000).map(one).collect()
        };
        let (train, heldout) = (questions(Split::Train, 1), questions(Split::Heldout, 2));
        let kinds: HashSet<&str> = train.intersection(&heldout).map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, HashSet::from(["\"known\"", "\"small\""]));
    }

    #[test]
    fn the_first_statement_counts() {
        let task = task(FactsOptions::default());
        let problem = task.problem(Split::Train, 1, 0).unwrap();
        let correct = |text: &str| task.verify(&problem, text)[0].score.clone().unwrap();
        let gold = task.gold(&problem);
        assert_eq!(
            (correct(&gold), correct(&format!("{gold}\n=1")), correct(&format!("=1\n{gold}"))),
            (1.0, 1.0, 0.0)
        );
        assert_eq!((correct(""), correct(&problem.answer)), (0.0, 0.0));
    }
}
