//! What goes wrong around a run: bad numbers, full and read-only disks, reward commands that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

mod desk;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use desk::*;

/// The program as somebody who may not write everywhere.
fn as_ordinary_user(desk: &Desk, arguments: &[&str]) -> Option<Output> {
    if !Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") {
        return Some(desk.run(arguments));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_lyceum")]);
    command.current_dir(desk.0.path()).args(arguments).env("LYCEUM_THREADS", "1").env("HOME", "/nonexistent");
    // Not every system lets an ordinary user reach the program.
    command.output().ok().filter(|output| !matches!(output.status.code(), Some(126 | 127)))
}

#[test]
fn a_run_folder_that_cant_be_written_is_refused_in_words() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &imitation(2));
    let recipe = recipe.to_str().unwrap();
    let said = desk.refused(1, &["train", recipe, "--out", "/proc/lyceum-run"]);
    assert!(said.contains("/proc/lyceum-run"), "{said}");
    let said = desk.refused(1, &["train", recipe, "--out", &format!("{recipe}/run")]);
    assert!(said.contains("r.toml/run"), "{said}");

    desk.done(&["train", recipe, "--out", "run"]);
    let said = desk.refused(1, &["train", recipe, "--out", "run"]);
    assert!(said.contains("not empty"), "{said}");
    let open = |mode| fs::set_permissions(desk.0.path(), fs::Permissions::from_mode(mode)).unwrap();
    open(0o755);
    for command in [&["train", "--resume", "run"] as &[&str], &["train", "r.toml", "--out", "other"]] {
        if let Some(output) = as_ordinary_user(&desk, command) {
            assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
            assert!(stderr(&output).contains(command[command.len() - 1]), "{}", stderr(&output));
        }
    }
    open(0o700);
}

#[test]
fn a_reward_command_that_misbehaves_costs_its_scores_and_nothing_else() {
    let garbage = r#"["sh", "-c", "while read -r line; do echo nonsense; done"]"#;
    let dying = r#"["sh", "-c", "read -r line; exit 3"]"#;
    let hanging = "[\"sleep\", \"600\"]\ndeadline = 0.05\nstartup = 0.05";
    let absent = r#"["no-such-program-anywhere"]"#;
    let talking =
        r#"["sh", "-c", "while read -r line; do echo '{\"reward\": 1}'; echo '{\"reward\": 1}'; done"]"#;
    for command in [garbage, dying, hanging, absent, talking] {
        let desk = Desk::new();
        let recipe = desk.write("r.toml", &practice(2, command));
        desk.done(&["train", recipe.to_str().unwrap(), "--out", "run"]);
        let rows = timeless(&desk.path("run/metrics.jsonl"));
        assert_eq!(rows.len(), 3);
        for row in &rows[1..] {
            let metrics = &row["metrics"];
            assert_eq!(metrics["unscored/reward"], 8.0, "{command}: {row}");
            assert_eq!(metrics["rollout/groups-trained"], 0.0, "{command}: {row}");
            assert!(metrics["reward/total"].is_null(), "{command}: {row}");
            assert!(metrics["reward/reward"].is_null(), "{command}: {row}");
            assert_eq!(metrics["rollout/mixed-groups"], 0.0, "{command}: {row}");
        }
        let traces = fs::read_to_string(desk.path("run/traces/train.jsonl")).unwrap();
        assert!(traces.contains("the reward command"), "{command}: {traces:.600}");
    }
}

#[test]
fn a_reward_command_that_misbehaves_now_and_then_is_used_where_it_answers() {
    let desk = Desk::new();
    let script = r#"["sh", "-c", "n=0; while read -r line; do n=$((n+1)); if [ $((n%4)) = 0 ]; then echo oops; else echo \"{\\\"reward\\\": $((n%2))}\"; fi; done"]"#;
    let recipe = desk.write("r.toml", &practice(2, script));
    desk.done(&["train", recipe.to_str().unwrap(), "--out", "run"]);
    for row in &timeless(&desk.path("run/metrics.jsonl"))[1..] {
        assert_eq!(row["metrics"]["unscored/reward"], 2.0, "{row}");
        assert!((row["metrics"]["reward/total"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9, "{row}");
        assert_eq!(row["metrics"]["rollout/groups-trained"], 2.0, "{row}");
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint() {
    let desk = Desk::new();
    let recipe = desk.write("r.toml", &imitation(20).replace("1e-3", "1e30"));
    let said = desk.refused(1, &["train", recipe.to_str().unwrap(), "--out", "run"]);
    assert!(said.contains("finite") && said.contains("lower the learning rate"), "{said}");
    assert!(rows_in(&desk.path("run")) < 20);
    let asked = ["generate", "--model", "run", "--precision", "f32", "--max-new-tokens", "4", "1 +1"];
    assert!(!desk.done(&asked).is_empty());
    assert!(desk.path("run/report.html").is_file());
}

/// Mounts a small file system in memory at `place`; whether this user may.
fn mounted(place: &Path, options: &str) -> bool {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(place);
    mount.output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_stops_a_run_which_goes_on_when_there_is_room() {
    let desk = Desk::new();
    let place = desk.path("disk");
    fs::create_dir(&place).unwrap();
    // One checkpoint of the small model fits, with its optimiser's state, and no second one.
    if !mounted(&place, "size=7m") {
        eprintln!("SKIPPED: no right to mount a small tmpfs here; run as root to test a full disk");
        return;
    }
    let recipe = desk.write("r.toml", &imitation(6));
    let recipe = recipe.to_str().unwrap();
    desk.done(&["train", recipe, "--out", "whole"]);
    let said = desk.refused(1, &["train", recipe, "--out", "disk/run"]);
    let more = mounted(&place, "remount,size=64m");
    let resumed = desk.run(&["train", "--resume", "disk/run"]);
    let same = timeless(&desk.path("whole/metrics.jsonl")) == timeless(&place.join("run/metrics.jsonl"));
    let _ = Command::new("umount").arg("-l").arg(&place).status();
    assert_eq!(said.matches("No space left on device").count(), 1, "{said}");
    assert!(said.contains("free some space and resume"), "{said}");
    assert!(more && resumed.status.success(), "{}", stderr(&resumed));
    assert!(same, "the resumed run differs from an undisturbed one");
}
