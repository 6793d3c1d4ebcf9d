use super::*;
use crate::study::tests::{GOOD, write};

fn plan(folder: &Path, options: Options) -> Plan {
    Plan::new(Study::read(folder).unwrap(), options, &folder.join("work")).unwrap()
}

fn keys(plan: &Plan) -> Vec<String> {
    plan.runs.iter().map(|run| run.key.clone()).collect()
}

#[test]
fn seeds_are_outermost_and_places_filled_in() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), GOOD);
    let plan = plan(folder.path(), Options::default());
    let order: Vec<_> = plan.runs.iter().map(|run| (run.arm.as_str(), run.seed)).collect();
    assert_eq!(order, [("verifiable", 1), ("min", 1), ("verifiable", 2), ("min", 2)]);
    let policy = plan.prepares[0].folder.display().to_string();
    assert_eq!(plan.runs[2].sets, [format!("model.name='{policy}'"), "seed=2".into()]);
    assert_eq!(plan.recipes().count(), 3);
    assert_eq!(plan.points_kept(), 200);
}

#[test]
fn seeds_as_the_arm_the_option_or_quick_says() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &GOOD.replace("name = \"min\"", "name = \"min\"\nseeds = 3"));
    let count = |options| plan(folder.path(), options).runs.len();
    assert_eq!(count(Options::default()), 2 + 3);
    assert_eq!(count(Options { seeds: Some(4), ..Options::default() }), 8);
    assert_eq!(count(Options { quick: true, seeds: None }), 2);
    let quick = plan(folder.path(), Options { quick: true, seeds: None });
    assert!(quick.runs[1].sets.ends_with(&[
        "policy.updates=1".into(),
        "policy.samples=2".into(),
        "seed=1".into()
    ]));
    assert_eq!(quick.prepares[0].sets, ["sft.steps=1"]);
}

#[test]
fn a_key_follows_what_the_run_depends_on_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), GOOD);
    let before = keys(&plan(folder.path(), Options::default()));
    let elsewhere = tempfile::tempdir().unwrap();
    write(elsewhere.path(), GOOD);
    std::fs::write(elsewhere.path().join("rl.toml"), "# a word\n[policy]\nupdates  = 9\n").unwrap();
    assert_eq!(keys(&plan(elsewhere.path(), Options::default())), before, "places and comments do not count");
    std::fs::write(elsewhere.path().join("sft.toml"), "[sft]\nsteps = 10\n").unwrap();
    let after = keys(&plan(elsewhere.path(), Options::default()));
    assert!(before.iter().zip(&after).all(|(a, b)| a != b), "all start from the preparation");
    write(elsewhere.path(), &GOOD.replace("kind = \\\"min\\\"", "kind = \\\"sum\\\""));
    let after = keys(&plan(elsewhere.path(), Options::default()));
    let changed: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a != b).collect();
    assert_eq!(changed, [false, true, false, true]);
}
