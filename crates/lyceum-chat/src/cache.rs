//! Replies on disk, under the hash of what was asked.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{ChatModel, ChatReply, ChatRequest, Delta, Error, Result, Wall};

/// Part of every key: raised when entries change their form or meaning.
const VERSION: u32 = 1;
/// Longest entry that is read, in bytes.
const LONGEST: u64 = 256 << 20;

/// A model that is asked only what it was not asked before.
///
/// The key is the SHA-256 of the model's identity and the whole request. An entry is a line with the SHA-256 of the rest and the
/// reply as JSON; one that is damaged is a miss and is written anew. Requests that are sampled without a seed pass by: of those
/// each reply is to be another.
pub struct Cached<M> {
    model: M,
    folder: PathBuf,
}

impl<M: ChatModel> Cached<M> {
    /// `model` with its replies in `folder`, which is made when the first is written.
    pub fn new(model: M, folder: impl Into<PathBuf>) -> Self {
        Self { model, folder: folder.into() }
    }

    /// Where the reply to a request lies, or would.
    #[must_use]
    pub fn path(&self, request: &ChatRequest) -> PathBuf {
        let asked = json!({"version": VERSION, "model": self.model.identity(), "request": request});
        let name = hex(asked.to_string().as_bytes());
        self.folder.join(&name[..2]).join(&name[2..])
    }
}

impl<M: ChatModel> ChatModel for Cached<M> {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn identity(&self) -> String {
        self.model.identity()
    }

    fn stream(&self, request: &ChatRequest, observe: &mut dyn FnMut(Delta<'_>)) -> Result<ChatReply> {
        if !request.is_repeatable() {
            return self.model.stream(request, observe);
        }
        let path = self.path(request);
        if let Some(reply) = read(&path) {
            if let Some(reasoning) = &reply.reasoning {
                observe(Delta::Reasoning(reasoning));
            }
            observe(Delta::Text(&reply.text));
            return Ok(reply);
        }
        let reply = self.model.stream(request, observe)?;
        write(&path, &reply)?;
        Ok(reply)
    }

    fn chat_all(&self, requests: &[ChatRequest], concurrency: usize) -> Vec<Result<ChatReply>> {
        let known = |request: &ChatRequest| {
            if request.is_repeatable() { read(&self.path(request)) } else { None }
        };
        let found: Vec<Option<ChatReply>> = requests.iter().map(known).collect();
        let missing: Vec<ChatRequest> = requests
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(r, _)| r.clone())
            .collect();
        // The model has its own way with many at once.
        let mut asked = self.model.chat_all(&missing, concurrency).into_iter();
        let take = |(request, found): (&ChatRequest, Option<ChatReply>)| match found {
            Some(reply) => Ok(reply),
            None => {
                let lost = || Err(Error::Request("the model gave fewer replies than requests".into()));
                let reply = asked.next().unwrap_or_else(lost)?;
                if request.is_repeatable() {
                    write(&self.path(request), &reply)?;
                }
                Ok(reply)
            }
        };
        requests.iter().zip(found).map(take).collect()
    }

    fn log_probability(
        &self,
        prompt: &[lyceum_text::Message],
        continuation: &str,
    ) -> Result<crate::LogProbability> {
        self.model.log_probability(prompt, continuation)
    }
}

/// An entry that is whole.
fn read(path: &Path) -> Option<ChatReply> {
    let file = File::open(path).ok()?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, LONGEST), &mut bytes).ok()?;
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let (hash, reply) = (bytes.get(..end)?, bytes.get(end + 1..)?);
    if hash != hex(reply).as_bytes() {
        return None;
    }
    let reply: ChatReply = serde_json::from_slice(reply).ok()?;
    Some(ChatReply { wall: Wall::default(), ..reply })
}

/// Writes an entry under a name of this writer alone, syncs it and renames it: other readers see all of it or nothing.
fn write(path: &Path, reply: &ChatReply) -> Result<()> {
    static WRITERS: AtomicU64 = AtomicU64::new(0);
    let failed = |source| Error::Cache { path: path.to_path_buf(), source };
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder).map_err(failed)?;
    let reply = serde_json::to_vec(reply).map_err(|error| failed(error.into()))?;
    let own = format!("tmp-{}-{}", std::process::id(), WRITERS.fetch_add(1, Ordering::Relaxed));
    let temporary = path.with_extension(own);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(hex(&reply).as_bytes())?;
        file.write_all(b"\n")?;
        file.write_all(&reply)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, path)).map_err(|source| {
        // The first error is the one worth reporting.
        let _ = fs::remove_file(&temporary);
        failed(source)
    })?;
    // Not all systems can sync a folder; an entry that a power cut takes back is a miss.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use lyceum_text::Message;

    use super::*;

    /// Counts how often it is asked.
    struct Counter(AtomicUsize);

    impl ChatModel for Counter {
        fn name(&self) -> &str {
            "counter"
        }

        fn stream(&self, _: &ChatRequest, _: &mut dyn FnMut(Delta<'_>)) -> Result<ChatReply> {
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            Ok(ChatReply { text: n.to_string(), ..ChatReply::default() })
        }
    }

    fn ask(text: &str) -> ChatRequest {
        ChatRequest::greedy(vec![Message::new("user", text)], 5)
    }

    #[test]
    fn a_damaged_entry_is_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let cached = Cached::new(Counter(AtomicUsize::new(0)), folder.path());
        let said = || cached.chat(&ask("a")).unwrap().text;
        assert_eq!((said(), said()), ("0".into(), "0".into()));
        let path = cached.path(&ask("a"));
        let whole = fs::read(&path).unwrap();
        for cut in [0, 1, 64, 65, whole.len() - 1] {
            let before = said();
            fs::write(&path, &whole[..cut]).unwrap();
            assert_ne!(said(), before, "cut to {cut}");
            assert_eq!(said(), said());
        }
        for byte in 0..whole.len() {
            let mut broken = whole.clone();
            broken[byte] ^= 1;
            fs::write(&path, broken).unwrap();
            assert!(read(&path).is_none(), "byte {byte}");
        }
        let names = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "no temporary file is left");
    }

    #[test]
    fn all_that_was_asked_is_in_the_key() {
        let cached = Cached::new(Counter(AtomicUsize::new(0)), "x");
        let others = [
            ask("b"),
            ChatRequest { max_tokens: 6, ..ask("a") },
            ChatRequest { seed: Some(0), ..ask("a") },
            ChatRequest { temperature: 0.5, ..ask("a") },
            ChatRequest { choices: vec!["a".into()], ..ask("a") },
        ];
        for other in others {
            assert_ne!(cached.path(&other), cached.path(&ask("a")), "{other:?}");
        }
    }

    #[test]
    fn samples_without_a_seed_pass_by() {
        let folder = tempfile::tempdir().unwrap();
        let cached = Cached::new(Counter(AtomicUsize::new(0)), folder.path());
        let sampled = ChatRequest { temperature: 1.0, ..ask("a") };
        assert_ne!(cached.chat(&sampled).unwrap(), cached.chat(&sampled).unwrap());
        let replies = cached.chat_all(&[ask("a"), sampled, ask("b")], 2);
        let again = cached.chat_all(&[ask("b"), ask("a")], 2);
        assert_eq!(again[0].as_ref().unwrap().text, replies[2].as_ref().unwrap().text);
        assert_eq!(again[1].as_ref().unwrap().text, replies[0].as_ref().unwrap().text);
    }
}
