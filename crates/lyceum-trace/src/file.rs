use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use crate::{Error, LineReader, LineWriter, Repair, Result, Trace, VERSION};

/// Reads one line of a trace file. Any bytes may come: the result is a consistent trace or an error.
///
/// # Errors
/// [`Error::Json`], [`Error::Version`] or [`Error::Invalid`].
pub fn parse_line(line: &[u8]) -> Result<Trace> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    match serde_json::from_slice::<Trace>(line) {
        Ok(trace) => trace.validate().map(|()| trace),
        // A line of another version may well not parse: say so rather than name the first odd field.
        Err(error) => match serde_json::from_slice::<Versioned>(line) {
            Ok(Versioned { version }) if version != u64::from(VERSION) => {
                Err(Error::Version { found: version })
            }
            _ => Err(error.into()),
        },
    }
}

/// Streams the traces of a file in bounded memory. Errors name file and line; reading goes on after a bad line.
pub struct Reader<R> {
    lines: LineReader<R>,
    torn_is_end: bool,
}

impl Reader<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        Ok(Self::new(BufReader::new(file), path))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads from any source of bytes; `path` is what errors call it.
    pub fn new(source: R, path: &Path) -> Self {
        Self { lines: LineReader::new(source, path), torn_is_end: false }
    }

    /// Sets the longest line accepted, in bytes.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.lines = self.lines.with_limit(limit);
        self
    }

    /// Takes a torn last line for the end of the file, as when its writer is still at work or was killed.
    #[must_use]
    pub fn tolerate_torn(mut self) -> Self {
        self.torn_is_end = true;
        self
    }

    fn read(&mut self) -> Result<Option<Trace>> {
        let Some(line) = self.lines.next_line()? else { return Ok(None) };
        let cause = match parse_line(line.bytes) {
            Ok(trace) => return Ok(Some(trace)),
            Err(Error::Json(_)) if !line.complete && self.torn_is_end => return Ok(None),
            Err(Error::Json(_)) if !line.complete => Error::Torn { bytes: line.bytes.len() },
            Err(error) => error,
        };
        Err(self.lines.error(cause))
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Trace>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Appends traces to a file; see [`LineWriter`] for what survives what.
#[derive(Debug)]
pub struct Writer(LineWriter);

impl Writer {
    /// Opens a file for appending, makes it if missing, and mends a torn last line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(path: &Path) -> Result<(Self, Repair)> {
        let (lines, repair) = LineWriter::append(path)?;
        Ok((Self(lines), repair))
    }

    /// Appends one trace.
    ///
    /// # Errors
    /// What [`Trace::validate`] finds; [`Error::Io`], after which the file is as it was before.
    pub fn write(&mut self, trace: &Trace) -> Result<()> {
        trace.validate()?;
        self.0.write(trace)
    }

    /// Makes all that was written survive a power cut (fsync).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&mut self) -> Result<()> {
        self.0.sync()
    }
}
