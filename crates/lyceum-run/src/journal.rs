use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

use lyceum_trace::{LineReader, LineWriter};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Layout, Result};

/// What the outside world said, so that a resumed run hears it again: replies of reward commands, judges and
/// endpoints, deadlines that passed.
///
/// Anything the run can't compute again goes through [`once`](Self::once). Replies are kept by step and key; a
/// resumed run replays the steps after its checkpoint word for word, then asks the world again.
#[derive(Debug)]
pub struct Journal {
    lines: LineWriter,
    replies: BTreeMap<(u64, String), serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Entry<'a, T> {
    step: u64,
    key: std::borrow::Cow<'a, str>,
    reply: T,
}

impl Journal {
    /// Opens a run's journal to replay what was said after step `after`: the checkpoint's step, or 0.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Line`] for a line that is no entry.
    pub fn open(layout: &Layout, after: u64) -> Result<Self> {
        let path = layout.journal();
        let (lines, _) = LineWriter::append(&path)?;
        let mut replies = BTreeMap::new();
        let mut reader =
            LineReader::new(BufReader::new(File::open(&path).map_err(Error::io("read", &path))?), &path);
        while let Some(line) = reader.next_line()? {
            let entry: Entry<'_, serde_json::Value> =
                serde_json::from_slice(line.bytes).map_err(|error| Error::Line {
                    path: path.clone(),
                    line: line.number,
                    message: error.to_string(),
                })?;
            if entry.step > after {
                replies.entry((entry.step, entry.key.into_owned())).or_insert(entry.reply);
            }
        }
        Ok(Self { lines, replies })
    }

    /// The reply on record for this step and key, or else `ask`'s, which is put on record before it is used.
    /// A key is asked for once a step.
    ///
    /// # Errors
    /// `ask`'s own; [`Error::Io`] if the reply can't be put on record; [`Error::Reply`] if the one on record is of
    /// another shape.
    pub fn once<T: Serialize + DeserializeOwned, E: From<Error>>(
        &mut self,
        step: u64,
        key: &str,
        ask: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        if let Some(reply) = self.replay(step, key)? {
            return Ok(reply);
        }
        let reply = ask()?;
        self.record(step, key, &reply)?;
        Ok(reply)
    }

    /// The reply on record, for callers that ask many things at once.
    ///
    /// # Errors
    /// [`Error::Reply`] if it is of another shape.
    pub fn replay<T: DeserializeOwned>(&self, step: u64, key: &str) -> Result<Option<T>> {
        let Some(reply) = self.replies.get(&(step, key.to_owned())) else { return Ok(None) };
        T::deserialize(reply).map(Some).map_err(|error| Error::Reply {
            path: self.lines.path().to_path_buf(),
            step,
            key: key.to_owned(),
            message: error.to_string(),
        })
    }

    /// Puts a reply on record.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn record<T: Serialize>(&mut self, step: u64, key: &str, reply: &T) -> Result<()> {
        Ok(self.lines.write(&Entry { step, key: key.into(), reply })?)
    }
}
