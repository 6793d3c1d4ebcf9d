//! Studies from outside: run, judged, taken up again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

mod desk;

use std::fs;
use std::path::PathBuf;

use desk::*;
use serde_json::Value;

const STUDY: &str = r#"
title = "Does a larger rate learn more?"
seeds = 5
[quick]
set = ["policy.updates=1"]
[[prepare]]
name = "start"
recipe = "sft.toml"
[[arm]]
name = "slow"
recipe = "rl.toml"
set = ["model.name='{start}'"]
[[arm]]
name = "fast"
title = "fast: rate 0.01"
recipe = "rl.toml"
set = ["model.name='{start}'", "optimizer.learning_rate=1e-2"]
[[metric]]
name = "tokens"
of = "heldout/tokens"
[[metric]]
name = "reward"
of = "reward/total"
take = "mean-last-fifth"
[[claim]]
name = "fast is no longer"
paper = "A larger rate does not make answers longer."
metric = "tokens"
arms = ["fast", "slow"]
rule = "below"
threshold = 0.5
[[figure]]
file = "tokens.svg"
of = "heldout/tokens"
title = "Tokens of an answer"
"#;

fn study(desk: &Desk) -> PathBuf {
    let folder = desk.path("rates");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("study.toml"), STUDY).unwrap();
    fs::write(folder.join("sft.toml"), imitation(2).replace("[task]", "[task] # easy")).unwrap();
    let practice = format!(
        "{HEAD}[optimizer]\nlearning_rate = 1e-3\n[policy]\nupdates = 2\nprompts = 2\nsamples = 2\n\
         max_new_tokens = 6\n"
    );
    fs::write(folder.join("rl.toml"), practice.replace("every = 4", "every = 1")).unwrap();
    folder
}

/// When the runs were written: a run that is skipped is not.
fn written(results: &std::path::Path) -> Vec<(String, std::time::SystemTime)> {
    let entries = fs::read_dir(results.join("runs")).unwrap().map(Result::unwrap);
    let mut times: Vec<_> = entries
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().modified().unwrap())
        })
        .collect();
    times.sort();
    times
}

#[test]
fn a_study_is_run_judged_and_not_run_twice() {
    let desk = Desk::new();
    let results = study(&desk).join("results");
    let output = desk.run(&["reproduce", "rates", "--seeds", "2", "--jobs", "2"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(said.contains("4 of 4 runs finished"), "{said}");
    assert!(said.contains("not decided (2 seeds; a verdict takes at least 5)"), "{said}");
    assert!(said.contains("fast minus slow") && said.contains("n=2"), "{said}");
    assert!(
        stderr(&output).contains("prepared start") && stderr(&output).contains("[4/4]"),
        "{}",
        stderr(&output)
    );
    let before = written(&results);
    let names: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["fast-1.json", "fast-2.json", "slow-1.json", "slow-2.json"]);
    for name in ["summary.json", "summary.md", "metrics.jsonl", "tokens.svg"] {
        assert!(fs::metadata(results.join(name)).unwrap().len() > 0, "{name}");
    }
    let svg = fs::read_to_string(results.join("tokens.svg")).unwrap();
    assert!(svg.contains("fast: rate 0.01") && svg.contains("class=\"band"), "{svg}");

    let output = desk.run(&["reproduce", "rates", "--seeds", "2"]);
    assert!(stderr(&output).contains("4 of 4 runs are on record"), "{}", stderr(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
    assert_eq!(written(&results), before);

    // One record is lost with its run cut off before its first checkpoint, another is torn.
    let record: Value = serde_json::from_slice(&fs::read(results.join("runs/fast-2.json")).unwrap()).unwrap();
    let run = |arm: &str| {
        let runs = fs::read_dir(desk.path("runs/papers/rates")).unwrap().map(|entry| entry.unwrap().path());
        runs.filter(|path| path.is_dir())
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(arm))
            .unwrap()
    };
    fs::remove_file(results.join("runs/fast-2.json")).unwrap();
    fs::remove_dir_all(run("fast-2").join("checkpoints")).unwrap();
    fs::write(results.join("runs/slow-1.json"), "{\"arm\": \"slo").unwrap();
    let output = desk.run(&["reproduce", "rates", "--seeds", "2"]);
    assert!(output.status.success() && stderr(&output).contains("[2/2]"), "{}", stderr(&output));
    assert!(stderr(&output).contains("slow-1.json can't be understood"), "{}", stderr(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
    let again: Value = serde_json::from_slice(&fs::read(results.join("runs/fast-2.json")).unwrap()).unwrap();
    assert_eq!(again["finished"]["metrics"], record["finished"]["metrics"]);
    assert_eq!(again["curves"], record["curves"]);

    // Another recipe is another run, for that arm alone; and small runs go elsewhere.
    let before = written(&results);
    let text = STUDY.replace("learning_rate=1e-2", "learning_rate=2e-2");
    fs::write(desk.path("rates/study.toml"), text).unwrap();
    let said = desk.done(&["reproduce", "rates", "--seeds", "2", "--json"]);
    let summary: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&summary["finished"], &summary["claims"][0]["verdict"]), (&4.into(), &"not-decided".into()));
    let after = written(&results);
    let renewed: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a.1 != b.1).collect();
    assert_eq!(renewed, [true, true, false, false]);
    let said = desk.done(&["reproduce", "rates", "--quick"]);
    assert!(said.contains("results: runs/quick-rates") && said.contains("decide nothing"), "{said}");
    assert_eq!(written(&results), after);
}

#[test]
fn a_run_that_fails_is_counted_and_the_study_goes_on() {
    let desk = Desk::new();
    study(&desk);
    // What only running can find out: the weights are not there.
    let text =
        STUDY.replace("\"model.name='{start}'\", \"optimizer", "\"model.name='./absent'\", \"optimizer");
    let text = text.replace("title = \"fast: rate 0.01\"\n", "");
    fs::write(desk.path("rates/study.toml"), text).unwrap();
    let said = desk.done(&["reproduce", "rates", "--seeds", "1"]);
    assert!(said.contains("1 of 2 runs finished, 1 failed"), "{said}");
    assert!(said.contains("fast seed 1: ") && said.contains("1 run failed and is in no mean"), "{said}");
}

#[test]
fn what_is_no_study_is_refused_before_anything_runs() {
    let desk = Desk::new();
    let said = desk.refused(1, &["reproduce", "alignrga"]);
    assert!(said.contains("did you mean `alignrag`"), "{said}");
    let said = desk.refused(1, &["reproduce", "infigui-r1"]);
    assert!(said.contains("no study yet"), "{said}");
    let said = desk.refused(1, &["reproduce", "./absent"]);
    assert!(said.contains("no study.toml in ./absent"), "{said}");
    let folder = study(&desk);
    fs::write(folder.join("study.toml"), STUDY.replace("learning_rate", "lerning_rate")).unwrap();
    let said = desk.refused(1, &["reproduce", "rates"]);
    assert!(said.contains("lerning_rate") && said.contains("did you mean `learning_rate`"), "{said}");
    fs::write(folder.join("study.toml"), STUDY.replace("arms = [\"fast\"", "arms = [\"fats\"")).unwrap();
    let said = desk.refused(1, &["reproduce", "rates"]);
    assert!(said.contains("study.toml:") && said.contains("claim[0].arms[0]"), "{said}");
    assert!(!desk.path("runs").exists());
    desk.refused(2, &["reproduce", "rates", "--seeds", "0"]);
}

#[test]
fn twenty_papers() {
    let desk = Desk::new();
    let papers: Value = serde_json::from_str(&desk.done(&["papers", "--json"])).unwrap();
    assert_eq!(papers.as_array().unwrap().len(), 20);
    assert_eq!((&papers[0]["name"], &papers[0]["arxiv"]), (&"pure".into(), &"2504.15275".into()));
    let said = desk.done(&["papers"]);
    assert!(said.lines().count() == 21 && said.contains("2504.14239"), "{said}");
}
