use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::{Error, Result};

/// The right to write in a run folder, held by one process at a time.
///
/// It is a lock of the operating system on the file `lock`, which dies with its process: a lock is never stale.
/// The file's text names the holder; text without a lock tells that the holder did not end in order.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock; the string is a note about a former holder that died.
    pub fn take(folder: &Path) -> Result<(Self, Option<String>)> {
        let path = folder.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let mut holder = String::new();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // The holder's name is a courtesy; the refusal stands without it.
                let _ = file.read_to_string(&mut holder);
                return Err(Error::Locked { path: folder.to_path_buf(), holder: holder.trim().to_owned() });
            }
            // Some network file systems know no locks: better to train unguarded than not at all.
            Err(TryLockError::Error(error)) => {
                tracing::warn!(
                    "{}: no locks here ({error}); do not train twice in one folder",
                    path.display()
                );
            }
        }
        let note = file
            .read_to_string(&mut holder)
            .ok()
            .filter(|_| !holder.trim().is_empty())
            .map(|_| format!("{} did not end in order; its run is taken over", holder.trim()));
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "process {}", std::process::id()));
        written.map_err(Error::io("write", &path))?;
        Ok((Self(file), note))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An ordered end leaves no holder's name; failing to say so costs a needless note on resume.
        let _ = self.0.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, note) = Lock::take(folder.path()).unwrap();
        assert_eq!(note, None);
        let error = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(lock);
        let (_lock, note) = Lock::take(folder.path()).unwrap();
        assert_eq!(note, None);
    }

    #[test]
    fn a_dead_holder_is_recognised() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("lock"), "process 4711\n").unwrap();
        let (_lock, note) = Lock::take(folder.path()).unwrap();
        assert_eq!(note.unwrap(), "process 4711 did not end in order; its run is taken over");
    }
}
