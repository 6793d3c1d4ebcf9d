//! An index on disk, open for searching.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::{DocAddress, IndexReader, ReloadPolicy};

use crate::analysis::Language;
use crate::embed::EncoderIdentity;
use crate::vectors::Vectors;
use crate::{Error, Result};

/// How an index is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose words are stemmed ([`Language::names`]).
    pub language: String,
    /// The encoder of dense vectors; none makes an index for BM25 alone.
    pub encoder: Option<EncoderIdentity>,
}

/// What an index is, kept in every commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub version: u32,
    pub language: String,
    pub encoder: Option<EncoderIdentity>,
    /// Files of vectors, by their first row.
    pub vectors: Vec<VectorFile>,
    /// Rows given out so far.
    pub rows: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VectorFile {
    pub first: u64,
    pub rows: u64,
}

impl VectorFile {
    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("vectors-{:08}.bin", self.first))
    }
}

const VERSION: u32 = 1;

/// The fields of a document.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    /// Its name.
    pub id: Field,
    /// Title and text as terms.
    pub body: Field,
    /// The document as JSON.
    pub document: Field,
    /// Its row among the vectors.
    pub row: Field,
    /// The first bytes of its content's SHA-256: what is the same is not indexed again.
    pub hash: Field,
}

const ANALYZER: &str = "lyceum";

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let terms =
        TextFieldIndexing::default().set_tokenizer(ANALYZER).set_index_option(IndexRecordOption::WithFreqs);
    let fields = Fields {
        id: schema.add_text_field("id", STRING | FAST),
        body: schema.add_text_field("body", TextOptions::default().set_indexing_options(terms)),
        document: schema.add_text_field("document", STORED),
        row: schema.add_u64_field("row", FAST | INDEXED),
        hash: schema.add_u64_field("hash", FAST),
    };
    (schema.build(), fields)
}

/// An index.
pub struct Index {
    pub(crate) folder: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) inner: tantivy::Index,
    pub(crate) fields: Fields,
    pub(crate) reader: IndexReader,
    pub(crate) language: Language,
    pub(crate) dense: OnceLock<Dense>,
}

/// Vectors in memory, with where each one's document is; `None` for what was deleted.
pub(crate) struct Dense {
    pub vectors: Vectors,
    pub addresses: Vec<Option<DocAddress>>,
    pub alive: Vec<bool>,
}

impl Index {
    /// Opens the index of a folder, or makes an empty one there.
    ///
    /// # Errors
    /// [`Error::Request`] for an unknown language, or if the index there was made otherwise; [`Error::Index`], [`Error::Io`].
    pub fn open_or_create(folder: &Path, options: &Options) -> Result<Self> {
        let inside = folder.join("bm25");
        let there = inside.join("meta.json").exists();
        // Cut off between the folder and the first commit, nothing is in it yet.
        let begun = there
            && tantivy::Index::open_in_dir(&inside)
                .and_then(|inner| inner.load_metas())
                .is_ok_and(|metas| metas.payload.is_none() && metas.segments.is_empty());
        if there && !begun {
            let index = Self::open(folder)?;
            let Manifest { language, encoder, .. } = &index.manifest;
            if *language != options.language || *encoder != options.encoder {
                let name = |encoder: &Option<EncoderIdentity>| {
                    encoder.as_ref().map_or("no encoder".into(), |encoder| encoder.name.clone())
                };
                return Err(Error::Request(format!(
                    "{} is an index of {language} with {}, not of {} with {}; give another folder, or the same settings",
                    folder.display(),
                    name(encoder),
                    options.language,
                    name(&options.encoder)
                )));
            }
            return Ok(index);
        }
        std::fs::create_dir_all(&inside).map_err(|source| Error::Io {
            doing: "make",
            path: inside.clone(),
            source,
        })?;
        let language = language_named(&options.language)?;
        let manifest = Manifest {
            version: VERSION,
            language: options.language.clone(),
            encoder: options.encoder.clone(),
            vectors: Vec::new(),
            rows: 0,
        };
        let (schema, fields) = schema();
        let inner = match begun {
            true => tantivy::Index::open_in_dir(&inside)?,
            false => tantivy::Index::create_in_dir(&inside, schema)?,
        };
        let index = Self::assemble(folder, manifest, inner, fields, language)?;
        index.commit_manifest()?;
        Ok(index)
    }

    /// Opens the index of a folder.
    ///
    /// # Errors
    /// [`Error::Index`] if there is none or it is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let refuse = |problem: String| Error::Index { path: folder.to_path_buf(), problem };
        let inside = folder.join("bm25");
        if !inside.join("meta.json").exists() {
            return Err(refuse(
                "is no index; make one with `lyceum index build CORPUS.jsonl --out DIR`".into(),
            ));
        }
        let again = "build the index again from its corpus";
        let inner = tantivy::Index::open_in_dir(&inside)
            .map_err(|error| refuse(format!("is damaged ({error}); {again}")))?;
        let payload =
            inner.load_metas().map_err(|error| refuse(format!("is damaged ({error}); {again}")))?.payload;
        let manifest: Manifest = payload
            .and_then(|payload| serde_json::from_str(&payload).ok())
            .ok_or_else(|| refuse(format!("is no index of Lyceum, or its making was cut off; {again}")))?;
        if manifest.version != VERSION {
            return Err(refuse(format!(
                "is of version {}; this program reads {VERSION}; {again}",
                manifest.version
            )));
        }
        let (wanted, fields) = schema();
        if inner.schema() != wanted {
            return Err(refuse(format!("has other fields than this program's; {again}")));
        }
        let language = language_named(&manifest.language)?;
        Self::assemble(folder, manifest, inner, fields, language)
    }

    fn assemble(
        folder: &Path,
        manifest: Manifest,
        inner: tantivy::Index,
        fields: Fields,
        language: Language,
    ) -> Result<Self> {
        inner.tokenizers().register(ANALYZER, language.analyzer());
        let reader =
            inner.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(|error| {
                Error::Index {
                    path: folder.to_path_buf(),
                    problem: format!("is damaged ({error}); build the index again from its corpus"),
                }
            })?;
        Ok(Self {
            folder: folder.to_path_buf(),
            manifest,
            inner,
            fields,
            reader,
            language,
            dense: OnceLock::new(),
        })
    }

    /// Documents in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoder of its vectors.
    #[must_use]
    pub const fn encoder(&self) -> Option<&EncoderIdentity> {
        self.manifest.encoder.as_ref()
    }

    /// The language of its terms.
    #[must_use]
    pub const fn language(&self) -> Language {
        self.language
    }

    /// Reads every file and compares it with its checksum; returns what is damaged.
    ///
    /// # Errors
    /// [`Error::Tantivy`].
    pub fn check(&self) -> Result<Vec<String>> {
        let mut damaged: Vec<String> = self
            .inner
            .validate_checksum()?
            .into_iter()
            .map(|path| format!("bm25/{}", path.display()))
            .collect();
        let width = self.encoder().map_or(0, |encoder| encoder.width);
        for file in &self.manifest.vectors {
            if let Err(error) = crate::vectors::read(&file.path(&self.folder), width, file.rows as usize) {
                damaged.push(error.to_string());
            }
        }
        damaged.sort();
        Ok(damaged)
    }
}

fn language_named(name: &str) -> Result<Language> {
    Language::named(name).ok_or_else(|| {
        Error::Request(format!("unknown language {name:?}; known are {}", Language::names().join(", ")))
    })
}
