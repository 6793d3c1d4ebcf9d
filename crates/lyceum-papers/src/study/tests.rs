use std::path::Path;

use super::*;

pub(crate) const GOOD: &str = r#"
title = "A study of nothing"
seeds = 2
[quick]
set = ["policy.updates=1"]
prepare = ["sft.steps=1"]
[[prepare]]
name = "policy"
recipe = "sft.toml"
[[arm]]
name = "verifiable"
title = "right or wrong"
recipe = "rl.toml"
set = ["model.name='{policy}'"]
[[arm]]
name = "min"
recipe = "rl.toml"
set = ["model.name='{policy}'", "policy.credit={ kind = \"min\" }"]
quick = ["policy.samples=2"]
[[metric]]
name = "accuracy"
of = "heldout/correct"
[[metric]]
name = "reach"
of = "heldout/correct"
take = "updates-to-reach"
arm = "verifiable"
[[claim]]
name = "min is better"
paper = "It is."
metric = "accuracy"
arms = ["min", "verifiable"]
rule = "above"
threshold = 0.0
[[claim]]
name = "min is quick"
paper = "It is there early."
ours = true
metric = "reach"
arms = ["min"]
rule = "below"
threshold = 50
[[figure]]
file = "accuracy.svg"
of = "heldout/correct"
title = "Accuracy"
"#;

/// A study's folder with empty recipes.
pub(crate) fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join(FILE), text).unwrap();
    for (name, text) in [("sft.toml", "[sft]\nsteps = 9\n"), ("rl.toml", "[policy]\nupdates = 9\n")] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

fn refused(old: &str, new: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    assert!(GOOD.contains(old), "{old}");
    write(folder.path(), &GOOD.replacen(old, new, 1));
    let error = Study::read(folder.path()).unwrap_err().to_string();
    error.replace(&folder.path().display().to_string(), "STUDY")
}

#[test]
fn a_good_study_is_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), GOOD);
    let study = Study::read(folder.path()).unwrap();
    assert_eq!(study.file.arm[0].title(), "right or wrong");
    assert_eq!(study.arm("min").unwrap().title(), "min");
    assert_eq!((study.file.metric[1].take, study.file.metric[1].share), (Take::UpdatesToReach, 0.95));
    assert_eq!(study.sources().into_iter().collect::<Vec<_>>(), ["heldout/correct"]);
    assert!(Study::is_in(folder.path()) && !Study::is_in(Path::new("absent")));
}

#[test]
fn errors_name_file_line_and_key() {
    let said = [
        refused("seeds = 2", "seed = 2"),
        refused("seeds = 2", "seeds = 0"),
        refused("threshold = 50", "threshhold = 50"),
        refused("rule = \"below\"", "rule = \"beneath\""),
        refused("recipe = \"sft.toml\"", "recipe = \"stf.toml\""),
        refused("'{policy}'", "'{polcy}'"),
        refused("prepare = [\"sft.steps=1\"]", "prepare = [\"a='{policy}'\"]"),
        refused("\"policy.samples=2\"", "\"policy.samples\""),
        refused("name = \"min\"", "name = \"policy\""),
        refused("name = \"min\"", "name = \"../min\""),
        refused("metric = \"accuracy\"", "metric = \"acuracy\""),
        refused("[\"min\", \"verifiable\"]", "[\"mni\", \"verifiable\"]"),
        refused("[\"min\", \"verifiable\"]", "[]"),
        refused("arm = \"verifiable\"", ""),
        refused("of = \"heldout/correct\"", "of = \"heldout/correct\"\narm = \"min\""),
        refused("file = \"accuracy.svg\"", "file = \"../accuracy.svg\""),
        refused("title = \"A study of nothing\"", ""),
    ];
    insta::assert_snapshot!(said.join("\n"));
}
