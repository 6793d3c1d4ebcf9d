use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Result};

/// The longest line read unless told otherwise: 64 MiB, some millions of tokens.
pub const MAX_LINE: usize = 64 << 20;

/// A line of a file, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Number from 1.
    pub number: u64,
    /// The bytes before the line's end.
    pub bytes: &'a [u8],
    /// Whether the line's end was there; only the last line can lack it.
    pub complete: bool,
}

/// Streams the lines of any source of bytes in bounded memory; blank lines are skipped but counted.
pub struct LineReader<R> {
    source: R,
    path: PathBuf,
    number: u64,
    limit: usize,
    buffer: Vec<u8>,
}

impl<R: BufRead> LineReader<R> {
    /// Reads lines of at most [`MAX_LINE`] bytes; `path` is what errors call the source.
    pub fn new(source: R, path: &Path) -> Self {
        Self { source, path: path.to_path_buf(), number: 0, limit: MAX_LINE, buffer: Vec::new() }
    }

    /// Sets the longest line accepted, in bytes.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// An error about the line read last.
    pub fn error(&self, cause: Error) -> Error {
        Error::At { path: self.path.clone(), line: self.number, cause: Box::new(cause) }
    }

    /// The next line that is not blank; `None` at the end.
    ///
    /// # Errors
    /// [`Error::TooLong`] within [`Error::At`], after which reading goes on with the line after; [`Error::Io`].
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>> {
        loop {
            self.buffer.clear();
            let bound = (self.limit as u64).saturating_add(1);
            let read = self.source.by_ref().take(bound).read_until(b'\n', &mut self.buffer);
            if read.map_err(Error::io(&self.path))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let complete = self.buffer.last() == Some(&b'\n');
            if complete {
                self.buffer.pop();
            } else if self.buffer.len() > self.limit {
                self.source.skip_until(b'\n').map_err(Error::io(&self.path))?;
                return Err(self.error(Error::TooLong { limit: self.limit }));
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(Some(Line { number: self.number, bytes: &self.buffer, complete }));
            }
        }
    }
}

/// What opening a file for appending had to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// The file was whole, empty or new.
    None,
    /// The last line was whole but for its end, which was added.
    Ended,
    /// The last line was torn; this many bytes of it were cut off.
    Cut(u64),
}

/// Appends records as JSON lines.
///
/// A line goes to the operating system in one write, so a killed process loses nothing it wrote;
/// [`sync`](Self::sync) makes the lines survive a power cut too. A line that can't be written whole (disk full)
/// is taken back, so the file always ends with a whole line.
#[derive(Debug)]
pub struct LineWriter {
    file: File,
    path: PathBuf,
    length: u64,
}

impl LineWriter {
    /// Opens a file for appending, makes it if missing, and mends a torn last line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(path: &Path) -> Result<(Self, Repair)> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io(path))?;
        let (length, repair) = mend_tail(&mut file).map_err(Error::io(path))?;
        Ok((Self { file, path: path.to_path_buf(), length }, repair))
    }

    /// Appends one record as one line.
    ///
    /// # Errors
    /// [`Error::Json`] if the record has no JSON form; [`Error::Io`], after which the file is as it was before.
    pub fn write<T: Serialize + ?Sized>(&mut self, record: &T) -> Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if let Err(source) = self.file.write_all(&line) {
            // The first error is the one to report; a failure to take the half line back leaves a torn tail,
            // which the next append mends.
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return Err(Error::Io { path: self.path.clone(), source });
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// Makes all that was written survive a power cut (fsync).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }

    /// The file's length in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Brings the file to end with a whole line (or be empty), and leaves it positioned at its end.
fn mend_tail(file: &mut File) -> std::io::Result<(u64, Repair)> {
    const BLOCK: u64 = 64 << 10;
    let length = file.seek(SeekFrom::End(0))?;
    // Collects backwards, block by block, what follows the last line end.
    let mut tail = Vec::new();
    let mut start = length;
    while start > 0 {
        let from = start.saturating_sub(BLOCK);
        let mut block = vec![0; usize::try_from(start - from).unwrap_or(usize::MAX)];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut block)?;
        let end = block.iter().rposition(|&byte| byte == b'\n');
        block.extend_from_slice(&tail);
        if let Some(end) = end {
            start = from + end as u64 + 1;
            tail = block.split_off(end + 1);
            break;
        }
        (start, tail) = (from, block);
    }
    file.seek(SeekFrom::Start(length))?;
    if tail.is_empty() {
        return Ok((length, Repair::None));
    }
    if tail.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(&tail).is_ok() {
        file.write_all(b"\n")?;
        return Ok((length + 1, Repair::Ended));
    }
    file.set_len(start)?;
    file.seek(SeekFrom::Start(start))?;
    Ok((start, Repair::Cut(length - start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], limit: usize) -> Vec<std::result::Result<(u64, String, bool), String>> {
        let mut reader = LineReader::new(bytes, Path::new("x")).with_limit(limit);
        let mut found = Vec::new();
        loop {
            match reader.next_line() {
                Ok(None) => return found,
                Ok(Some(line)) => {
                    found.push(Ok((
                        line.number,
                        String::from_utf8_lossy(line.bytes).into_owned(),
                        line.complete,
                    )));
                }
                Err(error) => found.push(Err(error.to_string())),
            }
        }
    }

    #[test]
    fn blank_lines_are_skipped_but_counted() {
        let expected = [Ok((1, "a".into(), true)), Ok((4, "b".into(), false))];
        assert_eq!(lines(b"a\n\n  \r\nb", 10), expected);
        assert_eq!(lines(b"", 10), []);
    }

    #[test]
    fn a_long_line_is_refused_and_passed_over() {
        let found = lines(b"12345\n123456\n1", 5);
        assert_eq!(found[0], Ok((1, "12345".into(), true)));
        assert!(found[1].as_ref().unwrap_err().starts_with("x:2: line longer than 5 bytes"));
        assert_eq!(found[2], Ok((3, "1".into(), false)));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn tails_are_mended() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("{{\"x\":\"{}", "y".repeat(200_000));
        for (before, after, repair) in [
            ("", "", Repair::None),
            ("{}\n", "{}\n", Repair::None),
            ("{}\n{\"a\":1}", "{}\n{\"a\":1}\n", Repair::Ended),
            ("{}\n{\"a\":", "{}\n", Repair::Cut(5)),
            ("{\"a\":", "", Repair::Cut(5)),
            ("{}\n\0\0\0", "{}\n", Repair::Cut(3)),
            (&format!("{{}}\n{long}"), "{}\n", Repair::Cut(long.len() as u64)),
            ("12", "", Repair::Cut(2)),
        ] {
            let path = folder.path().join("file.jsonl");
            std::fs::write(&path, before).unwrap();
            let (mut writer, done) = LineWriter::append(&path).unwrap();
            assert_eq!(done, repair, "{before:.20}");
            writer.write(&[7]).unwrap();
            writer.sync().unwrap();
            let found = std::fs::read_to_string(&path).unwrap();
            assert_eq!(found, format!("{after}[7]\n"));
            assert_eq!(writer.length(), found.len() as u64);
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_an_error_with_the_path() {
        // /dev/full takes no byte: the way to meet a full disk without a disk.
        let path = Path::new("/dev/full");
        if !path.exists() {
            eprintln!("SKIPPED: no /dev/full on this system");
            return;
        }
        let (mut writer, _) = LineWriter::append(path).unwrap();
        let error = writer.write(&[7]).unwrap_err().to_string();
        assert!(error.starts_with("/dev/full: "), "{error}");
    }
}
