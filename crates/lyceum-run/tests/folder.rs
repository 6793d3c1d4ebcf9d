//! Run folders: a run that is killed and resumed leaves the files of one that never was; damage is survived.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use lyceum_run::{Checkpoint, Error, Journal, Layout, MetricsLog, Resumed, Row, RunFolder, read_rows};
use lyceum_trace::{Problem, Trace, Writer};
use proptest::prelude::*;

/// A trainer in small: its whole state is one number that every step mixes, with a say of the outside world.
struct Toy {
    folder: RunFolder,
    metrics: MetricsLog,
    traces: Writer,
    journal: Journal,
    state: u64,
    step: u64,
}

/// A world that never says the same thing twice, as clocks and endpoints do.
#[derive(Default)]
struct World {
    said: u64,
}

impl World {
    fn ask(&mut self) -> u64 {
        self.said += 1;
        self.said
    }
}

impl Toy {
    fn begin(runs: &Path) -> Self {
        let folder = RunFolder::create(runs, "toy", "task = 'toy'\n").unwrap();
        Self::over(folder, 7, 0)
    }

    fn resume(root: &Path) -> Self {
        let Resumed { folder, checkpoint, .. } = RunFolder::resume(root).unwrap();
        let (state, step) = checkpoint.map_or((7, 0), |checkpoint| {
            let bytes = checkpoint.bytes("deep/state.bin").unwrap();
            (u64::from_le_bytes(bytes.try_into().unwrap()), checkpoint.json("cursor.json").unwrap())
        });
        Self::over(folder, state, step)
    }

    fn over(folder: RunFolder, state: u64, step: u64) -> Self {
        let layout = folder.layout().clone();
        Self {
            metrics: MetricsLog::open(&layout).unwrap(),
            traces: Writer::append(&layout.trace_file("train")).unwrap().0,
            journal: Journal::open(&layout, step).unwrap(),
            folder,
            state,
            step,
        }
    }

    fn run_to(&mut self, last: u64, world: &mut World) {
        while self.step < last {
            self.step += 1;
            let said: u64 = self.journal.once(self.step, "judge", || Ok::<_, Error>(world.ask())).unwrap();
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(said);
            let value = (self.state >> 40) as f64;
            let mut trace = Trace::new(format!("s{}", self.step), "toy", Problem::default());
            trace.total = Some(value);
            self.traces.write(&trace).unwrap();
            let mut row = Row::new(self.step);
            row.set("loss", value);
            self.metrics.append(&row).unwrap();
            if self.step.is_multiple_of(4) {
                self.save(Some(value));
            }
        }
    }

    fn save(&mut self, score: Option<f64>) {
        let (state, step) = (self.state, self.step);
        self.folder
            .save(step, score, |writer| {
                writer.bytes("deep/state.bin", &state.to_le_bytes())?;
                writer.json("cursor.json", &step)
            })
            .unwrap();
    }
}

/// Files of a run by name; of the event file, whose records hold the time, the length alone.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_symlink() {
                found.insert(name, std::fs::read_link(&path).unwrap().to_str().unwrap().into());
            } else if path.is_dir() {
                walk(root, &path, found);
            } else if name.starts_with("events.") {
                found.insert(name, std::fs::metadata(&path).unwrap().len().to_le_bytes().to_vec());
            } else if name != "lock" {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Killed after any steps, in the middle of a line or of a checkpoint, with the last checkpoint perhaps
    /// damaged: in the end every file is as if nothing had happened.
    #[test]
    fn killed_and_resumed_is_as_never_stopped(
        kills in proptest::collection::vec((1u64..6, 0u8..4), 1..4),
    ) {
        const LAST: u64 = 18;
        // In memory where that can be had: hundreds of fsyncs are no part of what is tested.
        let runs = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut whole = Toy::begin(runs.path());
        whole.run_to(LAST, &mut World::default());

        let (mut world, mut toy) = (World::default(), Toy::begin(runs.path()));
        let root = toy.folder.layout().root().to_path_buf();
        let mut reached = 0;
        for (steps, harm) in kills {
            reached = (reached + steps).min(LAST);
            toy.run_to(reached, &mut world);
            let layout = toy.folder.layout().clone();
            drop(toy);
            append(&layout.metrics(), b"{\"step\":9");
            append(&layout.trace_file("train"), b"{\"version\":1,\"id\":\"to");
            append(&layout.events(), b"half a frame");
            std::fs::write(layout.trace_file("late"), "{}\n").unwrap();
            match harm {
                1 => {
                    let unfinished = layout.checkpoints().join(".unfinished-step-99");
                    std::fs::create_dir(&unfinished).unwrap();
                    std::fs::write(unfinished.join("state.bin"), [1; 9]).unwrap();
                }
                // The world's last word was cut off before it was used.
                2 => append(&layout.journal(), b"{\"step\":99,\"key\":\"ju"),
                3 => {
                    if let Some(&step) = layout.checkpoint_steps().unwrap().last() {
                        std::fs::write(layout.checkpoint(step).join("deep/state.bin"), [0; 8]).unwrap();
                    }
                }
                _ => {}
            }
            toy = Toy::resume(&root);
            prop_assert!(toy.step <= reached);
        }
        toy.run_to(LAST, &mut world);

        let (expected, found) = (files(whole.folder.layout().root()), files(&root));
        prop_assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
        for (name, bytes) in expected {
            prop_assert!(found[&name] == bytes, "{} differs", name);
        }
    }
}

fn three_checkpoints(runs: &Path) -> Layout {
    let mut toy = Toy::begin(runs);
    toy.folder = toy.folder.keeping(3);
    toy.run_to(12, &mut World::default());
    toy.folder.layout().clone()
}

#[test]
fn damage_is_told_and_passed_over() {
    type Harm = fn(&Path);
    let harms: [(Harm, &str); 6] = [
        (
            |c| std::fs::write(c.join("deep/state.bin"), [9; 8]).unwrap(),
            "deep/state.bin is damaged: its SHA-256",
        ),
        (|c| std::fs::write(c.join("deep/state.bin"), [9; 3]).unwrap(), "deep/state.bin has 3 bytes of 8"),
        (|c| std::fs::remove_file(c.join("cursor.json")).unwrap(), "cursor.json: No such file"),
        (|c| std::fs::remove_file(c.join("manifest.json")).unwrap(), "manifest.json: No such file"),
        (|c| std::fs::write(c.join("manifest.json"), "{\"version\"").unwrap(), "manifest.json is damaged: "),
        (|c| append(&c.join("manifest.json"), &[0; 64]), "manifest.json is damaged: "),
    ];
    for (harm, message) in harms {
        let runs = tempfile::tempdir().unwrap();
        let layout = three_checkpoints(runs.path());
        harm(&layout.checkpoint(12));
        let Resumed { checkpoint, notes, .. } = RunFolder::resume(layout.root()).unwrap();
        assert_eq!(checkpoint.unwrap().step(), 8);
        assert!(
            notes[0].starts_with("checkpoint of step 12 skipped: ") && notes[0].contains(message),
            "{notes:?}"
        );
        assert_eq!(read_rows(&layout.metrics()).unwrap().last().unwrap().step, 8);
    }
}

#[test]
fn the_newest_and_the_best_are_kept() {
    let runs = tempfile::tempdir().unwrap();
    let mut toy = Toy::begin(runs.path());
    let layout = toy.folder.layout().clone();
    for (step, score) in
        [(1, Some(0.5)), (2, Some(0.9)), (3, None), (4, Some(0.9)), (5, Some(f64::NAN)), (6, Some(0.1))]
    {
        toy.step = step;
        toy.save(score);
    }
    assert_eq!(layout.checkpoint_steps().unwrap(), [2, 5, 6]);
    assert_eq!(layout.best().unwrap().unwrap().step(), 2);
    #[cfg(unix)]
    assert_eq!(std::fs::read_link(layout.checkpoints().join("best")).unwrap(), Path::new("step-2"));
    drop(toy);
    let mut resumed = RunFolder::resume(layout.root()).unwrap().folder.keeping(2);
    assert_eq!(resumed.best().unwrap().step, 2);
    resumed.save(7, Some(0.95), |writer| writer.bytes("x", b"y")).unwrap();
    // 6 still counts 2 for the best, and is resumed from should 7 be damaged.
    assert_eq!(layout.checkpoint_steps().unwrap(), [2, 6, 7]);
    resumed.save(8, None, |writer| writer.bytes("x", b"y")).unwrap();
    assert_eq!(layout.checkpoint_steps().unwrap(), [7, 8]);
    assert_eq!(layout.best().unwrap().unwrap().step(), 7);
    assert_eq!(layout.newest().unwrap().0.unwrap().bytes("x").unwrap(), b"y");
}

#[test]
fn a_failed_save_leaves_what_was_there() {
    let runs = tempfile::tempdir().unwrap();
    let mut toy = Toy::begin(runs.path());
    toy.save(None);
    let before = files(toy.folder.layout().root());
    let failed = toy.folder.save(3, None, |writer| {
        writer.bytes("big", &[0; 1000])?;
        writer.json("nan-key", &BTreeMap::from([((1, 2), 3)]))
    });
    assert!(failed.unwrap_err().to_string().contains("nan-key: key must be a string"));
    for name in ["", "../up", "/root", "manifest.json", "a/../b"] {
        let failed = toy.folder.save(3, None, |writer| writer.bytes(name, b""));
        assert!(failed.unwrap_err().to_string().contains("is no name for a file"), "{name}");
    }
    assert_eq!(files(toy.folder.layout().root()), before);
}

#[test]
fn someone_elses_writer_is_hashed_too() {
    let runs = tempfile::tempdir().unwrap();
    let mut toy = Toy::begin(runs.path());
    let place = toy.folder.save::<Box<dyn std::error::Error>>(1, None, |writer| {
        writer.file("model/weights.bin", |path| Ok(std::fs::write(path, "weights")?))
    });
    let checkpoint = Checkpoint::open(&place.unwrap()).unwrap();
    assert_eq!(checkpoint.bytes("model/weights.bin").unwrap(), b"weights");
    assert!(
        checkpoint
            .path("model/config.json")
            .unwrap_err()
            .to_string()
            .contains("(there are: model/weights.bin)")
    );
}

#[test]
fn one_process_a_folder_and_free_numbers() {
    let runs = tempfile::tempdir().unwrap();
    let first = RunFolder::create(runs.path(), "my run/..", "").unwrap();
    let second = RunFolder::create(runs.path(), "my run/..", "").unwrap();
    assert_eq!(first.layout().name(), "my-run-..-001");
    assert_eq!(second.layout().name(), "my-run-..-002");
    let error = RunFolder::resume(first.layout().root()).unwrap_err();
    assert!(
        matches!(&error, Error::Locked { .. }) && error.to_string().contains("is in use by process"),
        "{error}"
    );
}

#[test]
fn a_place_of_ones_own_must_be_empty() {
    let runs = tempfile::tempdir().unwrap();
    let root = runs.path().join("deep/mine");
    let folder = RunFolder::create_at(&root, "task = 'toy'\n").unwrap();
    assert_eq!(folder.layout().name(), "mine");
    drop(folder);
    let error = RunFolder::create_at(&root, "").unwrap_err().to_string();
    assert!(error.ends_with("it is there and not empty"), "{error}");
    assert_eq!(std::fs::read_to_string(root.join("recipe.toml")).unwrap(), "task = 'toy'\n");
}

#[test]
fn a_file_is_replaced_whole() {
    // A bare name, as users give it, has no folder to speak of.
    let name = format!("{}-write-file.json", std::process::id());
    for text in ["old", "new"] {
        lyceum_run::write_file(Path::new(&name), text.as_bytes()).unwrap();
        assert_eq!(std::fs::read_to_string(&name).unwrap(), text);
    }
    std::fs::remove_file(&name).unwrap();
    let error = lyceum_run::write_file(Path::new("/nowhere/x.json"), b"").unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot write /nowhere/x.json: No such file or directory (os error 2); is the name right?"
    );
}

#[test]
fn places_that_will_not_do_are_named() {
    let error = RunFolder::resume(Path::new("/nowhere/run")).unwrap_err().to_string();
    assert_eq!(error, "/nowhere/run is no run folder: there is no recipe.toml in it");
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = RunFolder::create(&file.path().join("runs"), "x", "").unwrap_err().to_string();
    assert!(error.starts_with("cannot make the folder ") && error.contains("Not a directory"), "{error}");
}

/// A small file system in memory; `None`, said loudly, where this user may not mount one.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], folder.path());
        if !mounted {
            eprintln!("SKIPPED: no right to mount a small tmpfs here; run as root to test a full disk");
        }
        mounted.then(|| Self(folder))
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_path_buf()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run("umount", &["-l"], self.0.path());
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    std::process::Command::new(program)
        .args(arguments)
        .arg(path)
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_costs_the_new_checkpoint_only() {
    let Some(disk) = Tmpfs::mount("512k") else { return };
    let mut toy = Toy::begin(&disk.path());
    toy.run_to(4, &mut World::default());
    let layout = toy.folder.layout().clone();
    let before = files(layout.root());
    let error =
        toy.folder.save(5, None, |writer| writer.bytes("big", &vec![7; 1 << 20])).unwrap_err().to_string();
    assert!(
        error.contains("No space left on device") && error.contains("free some space and resume"),
        "{error}"
    );
    assert_eq!(files(layout.root()), before);
    let mut row = Row::new(5);
    let name = "n".repeat(1 << 20);
    row.set(&name, 1.0);
    let error = toy.metrics.append(&row).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl") && error.contains("No space left on device"), "{error}");
    assert_eq!(files(layout.root()), before);
    drop(toy);
    assert_eq!(RunFolder::resume(layout.root()).unwrap().checkpoint.unwrap().step(), 4);
}

#[test]
fn a_read_only_folder_is_named() {
    let Some(disk) = Tmpfs::mount("512k") else { return };
    let root = Toy::begin(&disk.path()).folder.layout().root().to_path_buf();
    assert!(run("mount", &["-o", "remount,ro"], &disk.path()));
    for error in [
        RunFolder::create(&disk.path(), "toy", "").unwrap_err().to_string(),
        RunFolder::resume(&root).unwrap_err().to_string(),
    ] {
        assert!(error.contains("Read-only file system"), "{error}");
        assert!(error.contains("choose a folder that can be written"), "{error}");
    }
}

#[test]
fn broken_numbers_survive_the_metrics_file() {
    let runs = tempfile::tempdir().unwrap();
    let toy = &mut Toy::begin(runs.path());
    let mut row = Row::new(1);
    row.set("loss", f64::NAN);
    row.set_wall("tokens_per_second", 512.5);
    row.evals.insert("held_out/accuracy".into(), lyceum_stats::proportion(0, 0));
    toy.metrics.append(&row).unwrap();
    let path = toy.folder.layout().metrics();
    append(&path, b"{\"step\":2,\"metr");
    let read = read_rows(&path).unwrap();
    assert_eq!(read.len(), 1);
    assert!(read[0].metrics["loss"].is_nan() && read[0].evals["held_out/accuracy"].mean.is_nan());
    assert_eq!(read[0].wall, row.wall);
    append(&path, b"\n");
    let error = read_rows(&path).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl:2: "), "{error}");
}

#[test]
fn the_journal_replays_word_for_word() {
    let runs = tempfile::tempdir().unwrap();
    let layout = RunFolder::create(runs.path(), "toy", "").unwrap().layout().clone();
    let mut journal = Journal::open(&layout, 0).unwrap();
    for step in 1..4 {
        let reply: String =
            journal.once(step, "reward 0", || Ok::<_, Error>(format!("reply {step}"))).unwrap();
        assert_eq!(reply, format!("reply {step}"));
    }
    drop(journal);
    let mut journal = Journal::open(&layout, 1).unwrap();
    let unasked = || -> Result<String, Error> { panic!("the world was asked again") };
    assert_eq!(journal.once(2, "reward 0", unasked).unwrap(), "reply 2");
    assert_eq!(journal.replay::<String>(3, "reward 0").unwrap().unwrap(), "reply 3");
    assert_eq!(journal.replay::<String>(1, "reward 0").unwrap(), None);
    assert_eq!(journal.replay::<String>(3, "reward 1").unwrap(), None);
    let error = journal.replay::<u64>(3, "reward 0").unwrap_err().to_string();
    assert!(error.contains("the reply to `reward 0` at step 3 is of another shape"), "{error}");
    append(&layout.journal(), b"nonsense\n");
    let error = Journal::open(&layout, 0).unwrap_err().to_string();
    assert!(error.contains("journal.jsonl:4: "), "{error}");
}
