//! The user's cache: folders that appear whole, one process at a time.

use crate::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

/// Makes `folder` by `fill`ing a temporary folder beside it, which is fsynced and renamed at the end. If `folder` is
/// there already, or another process makes it while we wait for the lock, nothing is done. An error or a killed process
/// leaves `folder` absent; the next attempt removes what was left.
pub(crate) fn make_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    // The operating system lets go of the lock when the process ends, however it ends.
    let _lock = lock(&beside(folder, "lock"))?;
    if folder.is_dir() {
        return Ok(());
    }
    let temporary = beside(folder, "tmp");
    remove(&temporary)?;
    fs::create_dir(&temporary).map_err(Error::io("create", &temporary))?;
    let made = fill(&temporary).and_then(|()| publish(&temporary, folder));
    if made.is_err() {
        // Best effort: the first error is the one worth reporting, and the next attempt removes it too.
        let _ = remove(&temporary);
    }
    made
}

/// The hidden neighbour of `folder` with another ending.
fn beside(folder: &Path, ending: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{ending}"))
}

fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("create", path))?;
    if let Err(error) = file.lock() {
        // Some network file systems have no locks. Two pulls at once may then spoil each other, but what is
        // published is verified all the same.
        tracing::warn!("cannot lock {}: {error}", path.display());
    }
    Ok(file)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", folder)(error)),
        _ => Ok(()),
    }
}

fn publish(temporary: &Path, folder: &Path) -> Result<()> {
    sync_folder(temporary);
    fs::rename(temporary, folder).map_err(Error::io("rename", folder))?;
    if let Some(parent) = folder.parent() {
        sync_folder(parent);
    }
    Ok(())
}

/// Makes names in a folder durable. Not all systems can; the files' contents are synced by whoever wrote them.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    fn visible(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("thing");
        let fail = make_folder(&folder, |temporary| {
            fs::write(temporary.join("half"), "x").unwrap();
            Err(Error::NoCache)
        });
        assert!(fail.is_err());
        assert!(visible(cache.path()).is_empty());

        // What a killed process left behind.
        fs::create_dir(cache.path().join(".thing.tmp")).unwrap();
        fs::write(cache.path().join(".thing.tmp/half"), "x").unwrap();
        let write = |text: &'static str| {
            move |t: &Path| fs::write(t.join("all"), text).map_err(Error::io("write", t))
        };
        make_folder(&folder, write("first")).unwrap();
        make_folder(&folder, write("second")).unwrap();
        assert_eq!(visible(cache.path()), ["thing"]);
        assert_eq!(visible(&folder), ["all"]);
        assert_eq!(fs::read_to_string(folder.join("all")).unwrap(), "first");
    }

    #[test]
    fn of_many_at_once_one_works_and_all_succeed() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("thing");
        let fills = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    make_folder(&folder, |temporary| {
                        fills.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(30));
                        fs::write(temporary.join("all"), "x").map_err(Error::io("write", temporary))
                    })
                    .unwrap();
                    assert!(folder.join("all").is_file());
                });
            }
        });
        assert_eq!(fills.into_inner(), 1);
    }
}
