//! The data tasks over the real data sets. They need a folder of data: set LYCEUM_DATA and run with `--ignored`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use std::collections::HashSet;

use lyceum_env::Split;
use lyceum_env::answer::{Rules, Verdict, equivalent};
use lyceum_env::task::{TaskSpec, open, validate};

fn spec(name: &str) -> TaskSpec {
    TaskSpec { name: name.to_owned(), options: serde_json::Map::new() }
}

#[test]
#[ignore = "needs LYCEUM_DATA"]
fn needs_data_every_gold_answer_and_demonstration_is_right() {
    for name in ["gsm8k", "mawps", "svamp", "math500"] {
        let task = open(&spec(name)).unwrap();
        let validation = validate(task.as_ref(), u64::MAX).unwrap();
        assert!(validation.passed(), "{name}: {:#?}", &validation.faults[..validation.faults.len().min(10)]);
        let rows: u64 = validation.checked.iter().map(|(_, rows)| rows).sum();
        println!("{name}: {:?}, {rows} rows", validation.checked);
        assert!(rows > 200);
    }
}

#[test]
#[ignore = "needs LYCEUM_DATA"]
fn needs_data_no_question_is_on_both_sides() {
    for name in ["gsm8k", "mawps", "svamp"] {
        let task = open(&spec(name)).unwrap();
        let questions = |split| -> HashSet<String> {
            let count = task.count(split).unwrap().unwrap();
            (0..count).map(|i| task.problem(split, 0, i).unwrap().plain()).collect()
        };
        let (train, heldout) = (questions(Split::Train), questions(Split::Heldout));
        assert!(train.is_disjoint(&heldout), "{name}");
        if name != "gsm8k" {
            let share = heldout.len() as f64 / (train.len() + heldout.len()) as f64;
            assert!((0.12..0.28).contains(&share), "{name}: {share}");
        }
    }
}

/// Among a few hundred gold answers of one data set, different texts are mostly different answers: the checker must
/// not be a yes-man, and must decide all of them.
#[test]
#[ignore = "needs LYCEUM_DATA"]
fn needs_data_gold_answers_differ_from_each_other() {
    let task = open(&spec("math500")).unwrap();
    let count = task.count(Split::Heldout).unwrap().unwrap();
    let answers: Vec<String> = (0..count)
        .map(|i| task.problem(Split::Heldout, 0, i).unwrap().answer)
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    let mut equal = Vec::new();
    for (i, a) in answers.iter().enumerate() {
        for b in &answers[i + 1..] {
            match equivalent(a, b, &Rules::default()) {
                Verdict::Equal => equal.push(format!("{a}   {b}")),
                Verdict::Different => {}
                Verdict::Undecided(cause) => panic!("{a}   {b}   {cause:?}"),
            }
        }
    }
    println!("{}", equal.join("\n"));
    assert!(equal.len() < 20, "{equal:#?}");
}
