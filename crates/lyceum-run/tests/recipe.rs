//! Recipes: layering, and errors that name file, line and key.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lyceum_run::{Error, Origin, Recipe};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Training {
    task: String,
    #[serde(default)]
    steps: u64,
    #[serde(default)]
    thinking: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default)]
    advantage: Advantage,
    #[serde(default)]
    optimizer: Optimizer,
    #[serde(default)]
    reward: Reward,
    #[serde(default)]
    stages: Vec<Stage>,
    #[serde(default)]
    objective: Objective,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Optimizer {
    lr: f32,
    betas: [f32; 2],
}

impl Default for Optimizer {
    fn default() -> Self {
        Self { lr: 1e-3, betas: [0.9, 0.95] }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Advantage {
    #[default]
    GroupRelative,
    LeaveOneOut,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Reward {
    #[default]
    Verifier,
    Command(Vec<String>),
    Weighted {
        weights: BTreeMap<String, f64>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    name: String,
    until: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Objective {
    Clip { epsilon: f32 },
    Likelihood { ceiling: f32 },
}

impl Default for Objective {
    fn default() -> Self {
        Self::Clip { epsilon: 0.2 }
    }
}

/// A folder of recipe files, read as `Training`.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, name: &str, sets: &[&str]) -> Result<Recipe<Training>, Error> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        Recipe::load(&self.path(name), &sets)
    }

    /// The error of loading, with the folder's name taken out.
    fn error(&self, name: &str, sets: &[&str]) -> String {
        let error = self.load(name, sets).map(|recipe| recipe.value).unwrap_err().to_string();
        error.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn error_of(text: &str) -> String {
    Recipe::<Training>::parse(text, Path::new("r.toml"), &[])
        .map(|recipe| recipe.value)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_file_is_laid_over_its_base_and_sets_over_both() {
    let files = Files::new(&[
        ("base.toml", "task = 'chain'\nsteps = 10\n[optimizer]\nlr = 0.5\nbetas = [0.1, 0.2]\n"),
        ("deep/middle.toml", "extends = '../base.toml'\nthinking = true\n[optimizer]\nlr = 0.25\n"),
        ("deep/top.toml", "extends = 'middle.toml'\n\nsteps = 20\n"),
    ]);
    let recipe = files.load("deep/top.toml", &["optimizer.betas=[0.3, 0.4]", "note=plain text"]).unwrap();
    let expected = Training {
        task: "chain".into(),
        steps: 20,
        thinking: true,
        note: Some("plain text".into()),
        optimizer: Optimizer { lr: 0.25, betas: [0.3, 0.4] },
        ..Training::default()
    };
    assert_eq!(recipe.value, expected);
    assert_eq!(recipe.origin("steps"), &Origin::File { path: files.path("deep/top.toml").into(), line: 3 });
    let base = files.path("deep/../base.toml");
    assert_eq!(recipe.origin("task"), &Origin::File { path: base.into(), line: 1 });
    assert_eq!(recipe.origin("optimizer.betas").to_string(), "--set optimizer.betas=[0.3, 0.4]");
    let error = recipe.error("optimizer.lr", "must be below 0.1").to_string();
    assert!(error.ends_with("deep/middle.toml:4: `optimizer.lr`: must be below 0.1"), "{error}");
}

#[test]
fn sets_are_typed_by_toml_or_else_text() {
    let files = Files::new(&[("r.toml", "task = 'chain'\n")]);
    let load = |set: &str| files.load("r.toml", &[set]).map(|recipe| recipe.value);
    assert_eq!(load("steps=7").unwrap().steps, 7);
    assert_eq!(load("steps = 1_000").unwrap().steps, 1000);
    assert_eq!(load("task=\"count down\"").unwrap().task, "count down");
    assert_eq!(load("task=say \"hi\"").unwrap().task, "say \"hi\"");
    assert_eq!(load("task=").unwrap().task, "");
    assert_eq!(load("advantage=leave-one-out").unwrap().advantage, Advantage::LeaveOneOut);
    assert_eq!(
        load("reward.command=['python3', 'r.py']").unwrap().reward,
        Reward::Command(vec!["python3".into(), "r.py".into()])
    );
    assert_eq!(
        files.error("r.toml", &["steps"]),
        "--set steps: give KEY=VALUE, for example optimizer.lr=1e-3"
    );
    assert_eq!(
        files.error("r.toml", &["steps=many"]),
        "--set steps=many: `steps`: this is the text \"many\", where a whole number, 0 or more, belongs"
    );
    assert_eq!(
        files.error("r.toml", &["optimizer.rl=1"]),
        "--set optimizer.rl=1: unknown key `optimizer.rl` (keys here: lr, betas)"
    );
    assert!(files.error("r.toml", &["a b=1"]).starts_with("--set a b=1: `a b` is not a key: "));
}

#[test]
fn errors_name_line_key_and_the_nearest_name() {
    for (text, message) in [
        (
            "task = 'x'\nstep = 3\n",
            "r.toml:2: unknown key `step`; did you mean `steps`? (keys here: task, steps, thinking, note, \
             advantage, optimizer, reward, stages, objective)",
        ),
        (
            "task = 'x'\n[optimizer]\nlr = 1\nbeta = 0.9\n",
            "r.toml:4: unknown key `optimizer.beta`; did you mean `betas`? (keys here: lr, betas)",
        ),
        (
            "task = 'x'\nadvantage = 'leave_one_out'\n",
            "r.toml:2: `advantage` can't be \"leave_one_out\"; did you mean `leave-one-out`? (choices: \
             group-relative, leave-one-out)",
        ),
        (
            "task = 'x'\n[[stages]]\nname = 'a'\nuntil = 1\n[[stages]]\nname = 'b'\nuntill = 2\n",
            "r.toml:7: unknown key `stages[1].untill`; did you mean `until`? (keys here: name, until)",
        ),
        (
            "task = 'x'\n[reward.weighted]\nweight = {}\n",
            "r.toml:3: unknown key `reward.weighted.weight`; did you mean `weights`? (keys here: weights)",
        ),
        (
            "task = 'x'\n\n[reward.comand]\n",
            "r.toml:3: `reward.comand` can't be \"comand\"; did you mean `command`? (choices: verifier, command, \
             weighted)",
        ),
        (
            "task = 'x'\n[objective]\nkind = 'clip'\nepsilom = 0.1\n",
            "r.toml:4: unknown key `objective.epsilom`; did you mean `epsilon`? (keys here: epsilon)",
        ),
        (
            "task = 'x'\n[objective]\nkind = 'clipp'\n",
            "r.toml:3: `objective.kind` can't be \"clipp\"; did you mean `clip`? (choices: clip, likelihood)",
        ),
        ("steps = 1\n", "r.toml:1: the key `task` is missing"),
        ("task = 'x'\n[[stages]]\nname = 'a'\n", "r.toml:2: the key `until` is missing in `stages[0]`"),
        (
            "task = 'x'\nsteps = -1\n",
            "r.toml:2: `steps`: this is the number -1, where a whole number, 0 or more, belongs",
        ),
        ("task = 'x'\noptimizer = 3\n", "r.toml:2: `optimizer`: this is the number 3, where a table belongs"),
        (
            "task = 'x'\n[optimizer]\nbetas = [0.1,\n  'b']\n",
            "r.toml:4: `optimizer.betas[1]`: this is the text \"b\", where a number belongs",
        ),
        (
            "task = 'x'\nreward = { verifier = 1 }\n",
            "r.toml:2: `reward.verifier`: this choice takes no table: give its name as a text in quotes",
        ),
        (
            "task = 'x'\nsteps = 99999999999999999999\n",
            "r.toml:2: not TOML: 99999999999999999999 does not fit in 64 bits",
        ),
        ("task = 'x'\ntask = 'y'\n", "r.toml:2: not TOML: duplicate key"),
        ("extends = 3\n", "r.toml:1: `extends` takes the name of a file in quotes"),
    ] {
        assert_eq!(error_of(text), message);
    }
}

#[test]
fn errors_in_a_base_name_the_base() {
    let files = Files::new(&[
        ("base.toml", "task = 'chain'\nstpes = 10\n"),
        ("top.toml", "extends = 'base.toml'\nsteps = 20\n"),
        ("lost.toml", "steps = 1\nextends = 'nowhere.toml'\n"),
    ]);
    assert!(
        files.error("top.toml", &[]).starts_with("base.toml:2: unknown key `stpes`; did you mean `steps`?")
    );
    assert_eq!(
        files.error("lost.toml", &[]),
        "lost.toml:2: `extends`: cannot read nowhere.toml: No such file or directory (os error 2)"
    );
    assert_eq!(
        files.error("none.toml", &[]),
        "cannot read the recipe none.toml: No such file or directory (os error 2); is the name right?"
    );
}

#[test]
fn circles_of_extends_are_found() {
    let files = Files::new(&[
        ("a.toml", "extends = 'b.toml'\n"),
        ("b.toml", "task = 'x'\nextends = './a.toml'\n"),
        ("self.toml", "extends = 'self.toml'\n"),
    ]);
    let circle = |file: &str| format!("`extends = \"{file}\"` closes a circle: that file extends this one");
    assert_eq!(files.error("a.toml", &[]), format!("b.toml:2: {}", circle("./a.toml")));
    assert_eq!(files.error("self.toml", &[]), format!("self.toml:1: {}", circle("self.toml")));
}

#[test]
fn the_resolved_recipe_reads_back_with_its_pins() {
    let text = "task = 'x'\n[optimizer]\nlr = 3e-5\n[reward]\ncommand = ['python3']\n[[stages]]\nname = 'a'\nuntil = 3\n";
    let mut recipe = Recipe::<Training>::parse(text, Path::new("r.toml"), &[]).unwrap();
    recipe.pin("model", "ab12").unwrap();
    let resolved = recipe.to_toml().unwrap();
    assert!(resolved.contains("lr = 3e-5\n") || resolved.contains("lr = 0.00003\n"), "{resolved}");
    let mut again = Recipe::<Training>::parse(&resolved, Path::new("recipe.toml"), &[]).unwrap();
    assert_eq!(again.value, recipe.value);
    assert_eq!(again.to_toml().unwrap(), resolved);
    again.pin("model", "ab12").unwrap();
    assert_eq!(
        again.pin("model", "cd34").unwrap_err().to_string(),
        "recipe.toml:1: `pinned`: `model` is not what this run began with: SHA-256 cd34, pinned ab12; bring back the \
         old one or begin a new run"
    );
}

#[test]
fn hostile_depth_and_size_are_refused() {
    let arrays = format!("task = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    let tables = format!("[{}a]\n", "a.".repeat(100_000));
    for text in [arrays, dotted, tables] {
        let message = error_of(&text);
        assert!(message.starts_with("r.toml:1: not TOML: "), "{message:.200}");
    }
    let files = Files::new(&[("top.toml", "extends = '/dev/zero'\n"), ("big.toml", &"# \n".repeat(500_000))]);
    if Path::new("/dev/zero").exists() {
        assert!(files.error("top.toml", &[]).contains("longer than 1 MiB"));
    }
    assert!(files.error("big.toml", &[]).contains("longer than 1 MiB"));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn training() -> impl Strategy<Value = Training> {
        let reward = prop_oneof![
            Just(Reward::Verifier),
            proptest::collection::vec(".{0,6}", 0..3).prop_map(Reward::Command),
            proptest::collection::btree_map(".{0,6}", -1e9..1e9f64, 0..3)
                .prop_map(|weights| Reward::Weighted { weights }),
        ];
        let stage = (".{0,8}", 0..i64::MAX as u64).prop_map(|(name, until)| Stage { name, until });
        let objective = prop_oneof![
            any::<f32>()
                .prop_filter("finite", |value| value.is_finite())
                .prop_map(|epsilon| Objective::Clip { epsilon }),
            (0f32..9.0).prop_map(|ceiling| Objective::Likelihood { ceiling }),
        ];
        let advantage = prop_oneof![Just(Advantage::GroupRelative), Just(Advantage::LeaveOneOut)];
        (
            (".{0,20}", 0..i64::MAX as u64, any::<bool>(), proptest::option::of(".{0,20}")),
            (advantage, 0f32..1.0, [0f32..1.0, 0f32..1.0], reward, objective),
            proptest::collection::vec(stage, 0..3),
        )
            .prop_map(
                |((task, steps, thinking, note), (advantage, lr, betas, reward, objective), stages)| {
                    let optimizer = Optimizer { lr, betas };
                    Training { task, steps, thinking, note, advantage, optimizer, reward, stages, objective }
                },
            )
    }

    proptest! {
        #[test]
        fn any_recipe_survives_its_file(value in training()) {
            let text = toml::to_string_pretty(&value).unwrap();
            let read = Recipe::<Training>::parse(&text, Path::new("r.toml"), &[]).unwrap();
            prop_assert_eq!(&read.value, &value);
            let again = Recipe::<Training>::parse(&read.to_toml().unwrap(), Path::new("r.toml"), &[]).unwrap();
            prop_assert_eq!(again.value, value);
        }

        #[test]
        fn any_text_is_a_recipe_or_an_error(text in ".{0,60}", set in ".{0,20}") {
            let _ = Recipe::<Training>::parse(&text, Path::new("r.toml"), &[set]);
        }
    }
}
