//! Changing an index. Every change is one commit: files of vectors are durable before it, and those that no commit knows of
//! are removed by the next one.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};
use tantivy::{IndexWriter, TantivyDocument, Term};

use crate::document::Document;
use crate::index::{Index, Manifest, VectorFile};
use crate::{Embedder, Error, Result, vectors};

/// What an addition came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Documents that are new.
    pub new: usize,
    /// Documents that replaced one of the same name.
    pub replaced: usize,
    /// Documents that were there already, the same in every byte.
    pub unchanged: usize,
}

/// Memory for terms before they are written out.
const WRITER_BYTES: usize = 128 << 20;

/// Documents of one commit: what a kill can cost.
const COMMIT: usize = 10_000;

impl Index {
    /// Adds documents; one whose name is there is replaced, one that is there unchanged is left. A kill loses the documents
    /// since the last commit at most, and adding the same again goes on from there.
    ///
    /// # Errors
    /// [`Error::Request`] without the encoder that the index was made with, or while another process writes;
    /// [`Error::Tantivy`], [`Error::Io`].
    pub fn add(
        &mut self,
        documents: &[Document],
        embedder: Option<&Embedder>,
        mut progress: impl FnMut(usize),
    ) -> Result<Added> {
        if embedder.map(Embedder::identity) != self.encoder() {
            return Err(Error::Request("the index was made with another encoder than this one".into()));
        }
        let known = self.hashes()?;
        let mut added = Added::default();
        let mut fresh = Vec::new();
        for document in documents {
            let hash = content_hash(document);
            match known.get(&document.id) {
                Some(&old) if old == hash => {
                    added.unchanged += 1;
                    continue;
                }
                Some(_) => added.replaced += 1,
                None => added.new += 1,
            }
            fresh.push((document, hash));
        }
        progress(added.unchanged);
        let mut writer = self.writer()?;
        for part in fresh.chunks(COMMIT) {
            let mut manifest = self.manifest.clone();
            let first = manifest.rows;
            manifest.rows += part.len() as u64;
            if let Some(embedder) = embedder {
                let file = VectorFile { first, rows: part.len() as u64 };
                let width = embedder.identity().width;
                let mut rows = Vec::with_capacity(part.len() * width);
                // In pieces, so that progress shows.
                for piece in part.chunks(512) {
                    let bodies: Vec<String> = piece.iter().map(|(document, _)| document.body()).collect();
                    rows.extend(embedder.embed(&bodies.iter().map(String::as_str).collect::<Vec<_>>())?);
                    progress(piece.len());
                }
                vectors::write(&file.path(&self.folder), width, &rows)?;
                manifest.vectors.push(file);
            } else {
                progress(part.len());
            }
            for (row, (document, hash)) in (first..).zip(part) {
                writer.delete_term(Term::from_field_text(self.fields.id, &document.id));
                writer.add_document(self.stored(document, row, *hash)?)?;
            }
            commit(&mut writer, &manifest)?;
            self.manifest = manifest;
        }
        writer.wait_merging_threads()?;
        self.refresh()?;
        Ok(added)
    }

    /// Takes documents out by name and returns how many there were.
    ///
    /// # Errors
    /// [`Error::Request`] while another process writes; [`Error::Tantivy`].
    pub fn delete(&mut self, ids: &[&str]) -> Result<usize> {
        let before = self.len();
        let mut writer = self.writer()?;
        for id in ids {
            writer.delete_term(Term::from_field_text(self.fields.id, id));
        }
        commit(&mut writer, &self.manifest)?;
        writer.wait_merging_threads()?;
        self.refresh()?;
        Ok((before - self.len()) as usize)
    }

    /// The first commit of an empty index.
    pub(crate) fn commit_manifest(&self) -> Result<()> {
        commit(&mut self.writer()?, &self.manifest)
    }

    /// One thread, so that the same documents make the same index.
    fn writer(&self) -> Result<IndexWriter> {
        self.inner.writer_with_num_threads(1, WRITER_BYTES).map_err(|error| match error {
            tantivy::TantivyError::LockFailure(..) => Error::Request(format!(
                "another process is writing to {}; wait until it has finished",
                self.folder.display()
            )),
            other => other.into(),
        })
    }

    fn stored(&self, document: &Document, row: u64, hash: u64) -> Result<TantivyDocument> {
        let json = serde_json::to_string(document).map_err(|error| Error::Request(error.to_string()))?;
        let mut stored = TantivyDocument::default();
        stored.add_text(self.fields.id, &document.id);
        stored.add_text(self.fields.body, document.body());
        stored.add_text(self.fields.document, json);
        stored.add_u64(self.fields.row, row);
        stored.add_u64(self.fields.hash, hash);
        Ok(stored)
    }

    /// What is there, by name.
    fn hashes(&self) -> Result<HashMap<String, u64>> {
        let mut hashes = HashMap::new();
        for segment in self.reader.searcher().segment_readers() {
            let (ids, values) = (segment.fast_fields().str("id")?, segment.fast_fields().u64("hash")?);
            let Some(ids) = ids else { continue };
            for doc in segment.doc_ids_alive() {
                let mut id = String::new();
                let ord = ids.term_ords(doc).next();
                if let (Some(ord), Some(hash)) = (ord, values.first(doc)) {
                    ids.ord_to_str(ord, &mut id).map_err(|source| self.unreadable(source))?;
                    hashes.insert(id, hash);
                }
            }
        }
        Ok(hashes)
    }

    pub(crate) fn unreadable(&self, source: std::io::Error) -> Error {
        Error::Io { doing: "read", path: self.folder.join("bm25"), source }
    }

    /// Sees the last commit and removes files of vectors that it does not know of.
    fn refresh(&mut self) -> Result<()> {
        self.reader.reload()?;
        self.dense = std::sync::OnceLock::new();
        let known: HashSet<_> = self.manifest.vectors.iter().map(|file| file.path(&self.folder)).collect();
        let listed = std::fs::read_dir(&self.folder).map_err(|source| Error::Io {
            doing: "list",
            path: self.folder.clone(),
            source,
        })?;
        for path in listed.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("vectors-") && !known.contains(&path) {
                // A leftover costs room, nothing else.
                _ = std::fs::remove_file(&path);
            }
        }
        Ok(())
    }
}

fn commit(writer: &mut IndexWriter, manifest: &Manifest) -> Result<()> {
    let payload = serde_json::to_string(manifest).map_err(|error| Error::Request(error.to_string()))?;
    let mut prepared = writer.prepare_commit()?;
    prepared.set_payload(&payload);
    prepared.commit()?;
    Ok(())
}

fn content_hash(document: &Document) -> u64 {
    let mut hash = Sha256::new();
    let meta = serde_json::to_string(&document.meta).unwrap_or_default();
    for part in [&document.title, &document.text, &meta] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |value, &byte| value << 8 | u64::from(byte))
}
