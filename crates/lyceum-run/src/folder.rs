use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::checkpoint::{TEMPORARY, remembered_best, write_checkpoint};
use crate::lock::Lock;
use crate::{Best, Checkpoint, CheckpointWriter, Error, Layout, Result, durable};

/// A run folder being written, by this process alone.
#[derive(Debug)]
pub struct RunFolder {
    layout: Layout,
    keep: usize,
    best: Option<Best>,
    _lock: Lock,
}

/// A run taken up again.
#[derive(Debug)]
pub struct Resumed {
    /// The folder, cut back to the checkpoint.
    pub folder: RunFolder,
    /// Where to go on from; `None` to begin anew, as the run ended before its first checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// What the user should know: checkpoints skipped, a process that died.
    pub notes: Vec<String>,
}

impl RunFolder {
    /// Makes `runs/NAME-001` (or the next number that is free) with the resolved recipe in it. In `name`, what is no
    /// letter, digit, `.`, `-` or `_` becomes `-`.
    ///
    /// # Errors
    /// [`Error::Io`] if `runs` can't be made or written.
    pub fn create(runs: &Path, name: &str, recipe: &str) -> Result<Self> {
        std::fs::create_dir_all(runs).map_err(Error::io("make the folder", runs))?;
        let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let name: String = name.trim_start_matches('.').chars().map(plain).collect();
        let mut number = 1;
        let root = loop {
            let root = runs.join(format!("{name}-{number:03}"));
            // Making the folder is the claim to the number: of two processes only one succeeds.
            match std::fs::create_dir(&root) {
                Ok(()) => break root,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Error::io("make the folder", &root)(error)),
            }
        };
        Self::begin(Layout::new(root), recipe)
    }

    /// Makes a run folder at a place of the user's choice.
    ///
    /// # Errors
    /// [`Error::Io`] if it can't be made, as when it is there already and not empty.
    pub fn create_at(root: &Path, recipe: &str) -> Result<Self> {
        std::fs::create_dir_all(root).map_err(Error::io("make the folder", root))?;
        if !durable::names_in(root)?.is_empty() {
            let taken = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it is there and not empty");
            return Err(Error::io("make the run folder", root)(taken));
        }
        Self::begin(Layout::new(root), recipe)
    }

    fn begin(layout: Layout, recipe: &str) -> Result<Self> {
        let (lock, _) = Lock::take(layout.root())?;
        for folder in [layout.traces(), layout.checkpoints()] {
            std::fs::create_dir(&folder).map_err(Error::io("make the folder", &folder))?;
        }
        durable::write_file(&layout.recipe(), recipe.as_bytes())?;
        Ok(Self { layout, keep: 2, best: None, _lock: lock })
    }

    /// Takes up a run: finds the newest checkpoint that is whole and cuts metrics, events and traces back to it, so
    /// that the resumed run's files become those of a run that was never stopped. Call it before opening them.
    ///
    /// # Errors
    /// [`Error::NotARun`], [`Error::Locked`] if another process is at work in it, [`Error::Io`].
    pub fn resume(root: &Path) -> Result<Resumed> {
        let layout = Layout::existing(root)?;
        let (lock, note) = Lock::take(layout.root())?;
        for folder in [layout.traces(), layout.checkpoints()] {
            std::fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
        }
        for name in durable::names_in(&layout.checkpoints())? {
            if name.starts_with(TEMPORARY) {
                durable::remove(&layout.checkpoints().join(name))?;
            }
        }
        let (checkpoint, skipped) = layout.newest()?;
        let mut notes: Vec<String> = note.into_iter().chain(skipped).collect();
        for name in layout.grown()? {
            let length = checkpoint.as_ref().and_then(|checkpoint| checkpoint.grown().get(&name));
            cut(&layout.root().join(&name), length.copied().unwrap_or(0), &mut notes)?;
        }
        let best = checkpoint.as_ref().and_then(Checkpoint::best);
        Ok(Resumed { folder: Self { layout, keep: 2, best, _lock: lock }, checkpoint, notes })
    }

    /// Sets how many of the newest checkpoints are kept (at least 1, default 2); the best is kept besides.
    #[must_use]
    pub fn keeping(mut self, last: usize) -> Self {
        self.keep = last.max(1);
        self
    }

    /// Where things are.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The best checkpoint so far.
    pub const fn best(&self) -> Option<Best> {
        self.best
    }

    /// Saves the state after `step`: all or nothing, durably. `score` (higher is better, for example held-out
    /// accuracy) makes it the best where it exceeds all before. Then drops checkpoints that are neither among the
    /// newest nor the best.
    ///
    /// # Errors
    /// Those of `write`, [`Error::Io`]. The checkpoints before stay as they were.
    pub fn save<E: From<Error>>(
        &mut self,
        step: u64,
        score: Option<f64>,
        write: impl FnOnce(&mut CheckpointWriter) -> std::result::Result<(), E>,
    ) -> std::result::Result<PathBuf, E> {
        let challenger = score.filter(|score| score.is_finite()).map(|score| Best { step, score });
        let best = match (self.best, challenger) {
            (Some(best), Some(challenger)) if challenger.score > best.score => Some(challenger),
            (None, challenger) => challenger,
            (best, _) => best,
        };
        let mut grown = std::collections::BTreeMap::new();
        for name in self.layout.grown()? {
            grown.insert(name.clone(), durable_length(&self.layout.root().join(&name))?);
        }
        if self.layout.journal().is_file() {
            durable_length(&self.layout.journal())?;
        }
        let place = self.layout.checkpoint(step);
        write_checkpoint(&place, step, grown, best, write)?;
        self.best = best;
        self.drop_old(step)?;
        self.point_to_best()?;
        Ok(place)
    }

    /// Keeps the newest and, of each of them, the best it remembers: whichever is resumed from, its best is there.
    fn drop_old(&self, newest: u64) -> Result<()> {
        let steps: Vec<u64> =
            self.layout.checkpoint_steps()?.into_iter().filter(|&step| step <= newest).collect();
        let (old, kept) = steps.split_at(steps.len().saturating_sub(self.keep));
        let bests: Vec<u64> =
            kept.iter().filter_map(|&step| remembered_best(&self.layout.checkpoint(step))).collect();
        for &step in old.iter().filter(|step| !bests.contains(step)) {
            // Renamed first: a removal cut short must not look like a damaged checkpoint.
            let place = self.layout.checkpoint(step);
            let dropped = self.layout.checkpoints().join(format!("{TEMPORARY}dropped-{step}"));
            std::fs::rename(&place, &dropped).map_err(Error::io("remove", &place))?;
            durable::remove(&dropped)?;
        }
        Ok(())
    }

    /// A link for people and other programs; ours read the manifest.
    #[cfg(unix)]
    fn point_to_best(&self) -> Result<()> {
        let Some(best) = self.best else { return Ok(()) };
        let link = self.layout.checkpoints().join("best");
        let fresh = self.layout.checkpoints().join(format!("{TEMPORARY}best"));
        durable::remove(&fresh)?;
        std::os::unix::fs::symlink(format!("step-{}", best.step), &fresh)
            .and_then(|()| std::fs::rename(&fresh, &link))
            .map_err(Error::io("link", &link))
    }

    #[cfg(not(unix))]
    fn point_to_best(&self) -> Result<()> {
        Ok(())
    }
}

/// Makes what a file holds durable and tells its length.
fn durable_length(path: &Path) -> Result<u64> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    file.sync_all()
        .and_then(|()| file.metadata())
        .map(|data| data.len())
        .map_err(Error::io("make durable", path))
}

/// Cuts a file back to a length; a file that began after the checkpoint goes away.
fn cut(path: &Path, length: u64, notes: &mut Vec<String>) -> Result<()> {
    if length == 0 {
        return durable::remove(path);
    }
    let file = OpenOptions::new().write(true).open(path).map_err(Error::io("cut back", path))?;
    let found = file.metadata().map_err(Error::io("cut back", path))?.len();
    if found < length {
        notes.push(format!(
            "{} is shorter than at the checkpoint ({found} bytes of {length}): it was changed from outside",
            path.display()
        ));
        return Ok(());
    }
    file.set_len(length).and_then(|()| file.sync_all()).map_err(Error::io("cut back", path))
}
