use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{Error, Result, durable};

const MANIFEST: &str = "manifest.json";
const VERSION: u32 = 1;

/// What a checkpoint holds and how long the run's growing files were when it was made.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    step: u64,
    files: BTreeMap<String, Entry>,
    grown: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<Best>,
}

/// A file of a checkpoint.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    size: u64,
    sha256: String,
}

/// The best checkpoint so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// Its score; higher is better.
    pub score: f64,
}

/// Takes the files of a checkpoint being made: names may have folders in them, `model/model.safetensors`.
#[derive(Debug)]
pub struct CheckpointWriter {
    folder: PathBuf,
    files: BTreeMap<String, Entry>,
}

impl CheckpointWriter {
    /// Writes a file from memory.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] for a bad name.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.stream(name, |out| out.write_all(bytes))
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] for a bad name or a value without a JSON form.
    pub fn json<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<()> {
        let bytes = serde_json::to_vec(value).map_err(|error| self.fault(format!("{name}: {error}")))?;
        self.bytes(name, &bytes)
    }

    /// Writes a file piece by piece, for what should not be in memory twice.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] for a bad name.
    pub fn stream(&mut self, name: &str, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let path = self.place(name)?;
        let file = File::create_new(&path).map_err(Error::io("write", &path))?;
        let mut out = BufWriter::with_capacity(1 << 20, Hashed { file, hash: Sha256::new(), size: 0 });
        let hashed = write(&mut out).and_then(|()| out.into_inner().map_err(io::IntoInnerError::into_error));
        let hashed = hashed.map_err(Error::io("write", &path))?;
        hashed.file.sync_all().map_err(Error::io("make durable", &path))?;
        let entry = Entry { size: hashed.size, sha256: hex(&hashed.hash.finalize()) };
        self.files.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Lets someone else's writer make the file at the path it is given, then reads it back for its hash.
    ///
    /// # Errors
    /// The writer's, and those of [`stream`](Self::stream).
    pub fn file<E: From<Error>>(
        &mut self,
        name: &str,
        write: impl FnOnce(&Path) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let path = self.place(name)?;
        write(&path)?;
        let file = File::open(&path).map_err(Error::io("read", &path))?;
        file.sync_all().map_err(Error::io("make durable", &path))?;
        self.files.insert(name.to_owned(), entry_of(&path)?);
        Ok(())
    }

    /// Lets someone else's writer fill a folder, then reads back every file in it (not in folders below it).
    ///
    /// # Errors
    /// The writer's, and those of [`stream`](Self::stream).
    pub fn folder<E: From<Error>>(
        &mut self,
        name: &str,
        write: impl FnOnce(&Path) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let path = self.place(name)?;
        write(&path)?;
        for file in durable::names_in(&path)? {
            self.file::<E>(&format!("{name}/{file}"), |_| Ok(()))?;
        }
        Ok(())
    }

    /// Checks a name and makes the folders it needs.
    fn place(&self, name: &str) -> Result<PathBuf> {
        let plain =
            !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        if !plain || name == MANIFEST || self.files.contains_key(name) {
            return Err(self.fault(format!("`{name}` is no name for a file, or is taken")));
        }
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io("make the folder", parent))?;
        }
        Ok(path)
    }

    fn fault(&self, message: String) -> Error {
        Error::Checkpoint { path: self.folder.clone(), message }
    }
}

/// Makes a checkpoint: all or nothing. It is written under a temporary name, made durable and renamed.
pub(crate) fn write_checkpoint<E: From<Error>>(
    place: &Path,
    step: u64,
    grown: BTreeMap<String, u64>,
    best: Option<Best>,
    write: impl FnOnce(&mut CheckpointWriter) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let parent = place.parent().unwrap_or(Path::new("."));
    let temporary = parent.join(format!("{TEMPORARY}step-{step}"));
    durable::remove(&temporary)?;
    std::fs::create_dir_all(&temporary).map_err(Error::io("make the folder", &temporary))?;
    let mut writer = CheckpointWriter { folder: temporary.clone(), files: BTreeMap::new() };
    let written = write(&mut writer).and_then(|()| {
        let manifest = Manifest { version: VERSION, step, files: writer.files, grown, best };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| Error::Checkpoint { path: temporary.clone(), message: error.to_string() })?;
        durable::write_file(&temporary.join(MANIFEST), &text)?;
        let folders =
            manifest.files.keys().filter_map(|name| temporary.join(name).parent().map(Path::to_path_buf));
        for folder in folders.collect::<std::collections::BTreeSet<_>>() {
            durable::sync_folder(&folder)?;
        }
        // A checkpoint of this step is there only if it is damaged: a whole one would have been resumed from.
        durable::remove(place)?;
        std::fs::rename(&temporary, place).map_err(Error::io("rename into place", place))?;
        durable::sync_folder(parent)?;
        Ok(())
    });
    if written.is_err() {
        // Gives the space back, as a full disk is the likeliest cause; the error to report is the first.
        let _ = durable::remove(&temporary);
    }
    written
}

/// Step of the best checkpoint in the memory of one, which need not be whole.
pub(crate) fn remembered_best(folder: &Path) -> Option<u64> {
    let text = std::fs::read(folder.join(MANIFEST)).ok()?;
    let manifest: Manifest = serde_json::from_slice(&text).ok()?;
    manifest.best.map(|best| best.step)
}

/// How names of unfinished checkpoints begin.
pub(crate) const TEMPORARY: &str = ".unfinished-";

/// A checkpoint whose every file has been found whole.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    manifest: Manifest,
}

impl Checkpoint {
    /// Opens a checkpoint and checks sizes and SHA-256 of all its files.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if anything is missing or damaged; [`Error::Io`] if it can't be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let fault = |message: String| Error::Checkpoint { path: folder.to_path_buf(), message };
        let path = folder.join(MANIFEST);
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| fault(format!("{MANIFEST} is damaged: {error}")))?;
        if manifest.version != VERSION {
            return Err(fault(format!("version {}; this program reads {VERSION}", manifest.version)));
        }
        for (name, entry) in &manifest.files {
            let path = folder.join(name);
            let size = std::fs::metadata(&path).map_err(|error| fault(format!("{name}: {error}")))?.len();
            if size != entry.size {
                return Err(fault(format!("{name} has {size} bytes of {}", entry.size)));
            }
            if entry_of(&path)?.sha256 != entry.sha256 {
                return Err(fault(format!("{name} is damaged: its SHA-256 is not the manifest's")));
            }
        }
        Ok(Self { folder: folder.to_path_buf(), manifest })
    }

    /// The step after which it was made.
    pub const fn step(&self) -> u64 {
        self.manifest.step
    }

    /// The best checkpoint when it was made.
    pub const fn best(&self) -> Option<Best> {
        self.manifest.best
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of its files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.manifest.files.keys().map(String::as_str)
    }

    /// Path of a file, for someone else's reader.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such file.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        if self.manifest.files.contains_key(name) {
            return Ok(self.folder.join(name));
        }
        let there = self.names().collect::<Vec<_>>().join(", ");
        Err(self.fault(format!("no file `{name}` in it (there are: {there})")))
    }

    /// A whole file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such file; [`Error::Io`].
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name)?;
        std::fs::read(&path).map_err(Error::io("read", &path))
    }

    /// A value written with [`CheckpointWriter::json`].
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such file or it holds something else; [`Error::Io`].
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let bytes = self.bytes(name)?;
        serde_json::from_slice(&bytes).map_err(|error| self.fault(format!("{name}: {error}")))
    }

    /// Lengths of the run's growing files when it was made.
    pub(crate) const fn grown(&self) -> &BTreeMap<String, u64> {
        &self.manifest.grown
    }

    fn fault(&self, message: String) -> Error {
        Error::Checkpoint { path: self.folder.clone(), message }
    }
}

/// SHA-256 of a file, lower-case hexadecimal: what recipes pin their inputs with.
///
/// # Errors
/// [`Error::Io`].
pub fn sha256_of_file(path: &Path) -> Result<String> {
    entry_of(path).map(|entry| entry.sha256)
}

fn entry_of(path: &Path) -> Result<Entry> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut hashed = Hashed { file: io::sink(), hash: Sha256::new(), size: 0 };
    io::copy(&mut BufReader::with_capacity(1 << 20, file), &mut hashed).map_err(Error::io("read", path))?;
    Ok(Entry { size: hashed.size, sha256: hex(&hashed.hash.finalize()) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts and hashes what goes through to the writer inside.
struct Hashed<W> {
    file: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
