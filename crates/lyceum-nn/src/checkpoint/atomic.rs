//! Files that are there whole or not at all.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `path` through a temporary file beside it, which is fsynced and renamed when `write` is done. On any error
/// the temporary file is removed and an older `path` stays as it was.
///
/// # Errors
/// [`Error::Io`], also for a full disk, naming `path`.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let temporary = temporary_beside(path);
    let written = fill(&temporary, write).and_then(|()| fs::rename(&temporary, path));
    if let Err(source) = written {
        // Best effort: the first error is the one worth reporting.
        let _ = fs::remove_file(&temporary);
        return Err(Error::Io { action: "write", path: path.to_owned(), source });
    }
    sync_parent(path);
    Ok(())
}

fn fill(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    write(&mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()
}

fn temporary_beside(path: &Path) -> PathBuf {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{serial}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Makes the rename itself durable. Not all systems allow a folder to be synced; the file's contents are safe anyway.
fn sync_parent(path: &Path) {
    if let Some(folder) = path.parent().and_then(|parent| File::open(parent).ok()) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        write_atomically(&path, |w| w.write_all(b"old")).unwrap();
        let full = |w: &mut BufWriter<File>| {
            w.write_all(b"half of the new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let message = write_atomically(&path, full).unwrap_err().to_string();
        assert!(message.contains("weights"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomically(&path, |w| w.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
