//! SHA-256 of files: which weights a result came from.

use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The SHA-256 of a file's bytes, in lower-case hexadecimal.
///
/// # Errors
/// [`Error::Io`].
pub fn sha256_of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hash = Hashing::new(io::sink());
    io::copy(&mut file, &mut hash).map_err(Error::io("read", path))?;
    Ok(hash.finish().1)
}

/// The fingerprint of a model's weights: the SHA-256 of its file; for a folder that of its one safetensors file, or
/// of the list of them, a line `hash  name` each, sorted by name (what `sha256sum *.safetensors | sha256sum` prints).
///
/// # Errors
/// [`Error::Io`]; [`Error::Damaged`] for a folder without weights.
pub fn sha256_of_weights(path: &Path) -> Result<String> {
    let files = weight_files(path)?;
    match files.as_slice() {
        [] => {
            let problem = "holds no .safetensors file; convert the weights, or give another folder".into();
            Err(Error::Damaged { path: path.to_owned(), problem })
        }
        [one] => sha256_of_file(one),
        many => {
            let mut list = Hashing::new(io::sink());
            for file in many {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let line = format!("{}  {name}\n", sha256_of_file(file)?);
                list.write_all(line.as_bytes()).map_err(Error::io("read", file))?;
            }
            Ok(list.finish().1)
        }
    }
}

fn weight_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::io("read", path))? {
        let file = entry.map_err(Error::io("read", path))?.path();
        if file.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(file);
        }
    }
    // An adapter or a trainer's state may lie beside the weights; they are not the weights.
    let model: Vec<PathBuf> = files.iter().filter(|file| starts_with(file, "model")).cloned().collect();
    let mut files = if model.is_empty() { files } else { model };
    files.sort();
    Ok(files)
}

fn starts_with(file: &Path, prefix: &str) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

/// A writer that counts and hashes what passes through it.
pub(crate) struct Hashing<W> {
    inner: W,
    hash: Sha256,
    /// Bytes so far.
    pub written: u64,
}

impl<W: Write> Hashing<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), written: 0 }
    }

    /// The writer and the hash.
    pub fn finish(self) -> (W, String) {
        (self.inner, format!("{:x}", self.hash.finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What a fetched file must be. Unknown parts are not checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Expected<'a> {
    pub bytes: Option<u64>,
    pub sha256: Option<&'a str>,
}

/// Copies `reader` to the new file `path`, fsyncs it and checks it. Stops as soon as there are more bytes than
/// expected, so that a hostile source cannot fill the disk.
pub(crate) fn copy_checked(
    reader: impl Read,
    path: &Path,
    expected: Expected<'_>,
    mut advanced: impl FnMut(u64),
) -> Result<()> {
    let damaged = |problem: String| Error::Damaged { path: path.to_owned(), problem };
    let file = File::create_new(path).map_err(Error::io("create", path))?;
    let mut writer = Hashing::new(file);
    let mut reader = reader.take(expected.bytes.map_or(u64::MAX, |bytes| bytes.saturating_add(1)));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = reader.read(&mut buffer).map_err(Error::io("fetch", path))?;
        if n == 0 {
            break;
        }
        writer.write_all(&buffer[..n]).map_err(Error::io("write", path))?;
        advanced(writer.written);
    }
    if let Some(bytes) = expected.bytes.filter(|&bytes| bytes != writer.written) {
        let got = if writer.written > bytes { "more".into() } else { writer.written.to_string() };
        return Err(damaged(format!("{bytes} bytes were expected, {got} came; try again")));
    }
    let (file, sha256) = writer.finish();
    if let Some(other) = expected.sha256.filter(|&other| other != sha256) {
        return Err(damaged(format!(
            "SHA-256 is {sha256}, expected {other}; the source has changed or was altered"
        )));
    }
    file.sync_all().map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of_weights(&path).unwrap(), abc);
        fs::write(folder.path().join("optimizer.safetensors"), "x").unwrap();
        assert_eq!(sha256_of_weights(folder.path()).unwrap(), abc);
        // printf 'abc' > model.safetensors; printf '' > model2.safetensors; sha256sum model* | sha256sum
        fs::write(folder.path().join("model2.safetensors"), "").unwrap();
        let both = "5961b8cc4346d49dc81239e34ba6d6eadf8a2415fe3f323f78a63d42ff9de56c";
        assert_eq!(sha256_of_weights(folder.path()).unwrap(), both);
    }

    #[test]
    fn a_file_that_is_not_as_expected_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check =
            |name: &str, expected| copy_checked(&b"abc"[..], &folder.path().join(name), expected, |_| ());
        assert!(check("a", Expected::default()).is_ok());
        let size = |bytes| Expected { bytes: Some(bytes), ..Expected::default() };
        assert!(check("b", size(3)).is_ok());
        assert!(check("c", size(4)).unwrap_err().to_string().contains("4 bytes were expected, 3 came"));
        assert!(check("d", size(2)).unwrap_err().to_string().contains("more came"));
        assert_eq!(
            fs::read(folder.path().join("d")).unwrap().len(),
            3,
            "one byte too many is enough to know"
        );
        let wrong = Expected { bytes: None, sha256: Some("00") };
        assert!(check("e", wrong).unwrap_err().to_string().contains("SHA-256"));
    }
}
