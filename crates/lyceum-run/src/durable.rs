//! Writing so that a power cut leaves the old or the new, never half of either.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::{Error, Result};

/// Writes a whole file under a temporary name, makes it durable and puts it in its place: the old or the new is
/// there, never half of either.
///
/// # Errors
/// [`Error::Io`]; the old file is then as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = Path::new(&name);
    let written = File::create(temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(temporary, path)).map_err(|source| {
        // What matters is the first error; a leftover is overwritten next time.
        let _ = std::fs::remove_file(temporary);
        Error::Io { doing: "write", path: path.to_path_buf(), source }
    })?;
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Makes renames and new names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    // Windows can't open a folder as a file; there the rename itself is as durable as it gets.
    if cfg!(unix) {
        File::open(folder).and_then(|handle| handle.sync_all()).map_err(Error::io("make durable", folder))?;
    }
    Ok(())
}

/// Removes a file or a folder with all in it; no error if there is none.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Names in a folder, sorted; none if there is no such folder.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        // A name that is no text is none of ours.
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}
