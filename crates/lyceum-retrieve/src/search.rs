//! Searching an index.

use std::collections::BTreeMap;
use std::str::FromStr;

use lyceum_kernels::Pool;
use tantivy::collector::TopDocs;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{DocAddress, Searcher, TantivyDocument, Term};

use crate::analysis::terms;
use crate::document::Document;
use crate::index::{Dense, Index};
use crate::vectors::Vectors;
use crate::{Embedder, Error, Result, fusion, vectors};

/// How documents are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// By words: BM25 with k1 = 1.2, b = 0.75 (Robertson and Zaragoza 2009).
    Bm25,
    /// By the cosine of vectors; every one is looked at.
    Dense,
    /// By both, fused by reciprocal rank.
    Hybrid,
    /// By both, scores weighted: the share of the dense side.
    Weighted(f64),
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let share = |text: &str| text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        match (text, text.strip_prefix("weighted:").and_then(share)) {
            ("bm25", _) => Ok(Self::Bm25),
            ("dense", _) => Ok(Self::Dense),
            ("hybrid", _) => Ok(Self::Hybrid),
            (_, Some(share)) => Ok(Self::Weighted(share)),
            _ => Err(
                "modes are bm25, dense, hybrid and weighted:SHARE with the dense side's share from 0 to 1"
                    .into(),
            ),
        }
    }
}

/// What both sides are asked for before they are fused.
const DEPTH: usize = 100;

/// A found document.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The document.
    pub document: Document,
    /// Its score in the mode that was asked for; higher is better.
    pub score: f64,
    /// BM25's score, where it was among what BM25 found.
    pub bm25: Option<f64>,
    /// The cosine, where it was among the nearest.
    pub dense: Option<f64>,
}

type Found = Vec<(DocAddress, f64)>;

impl Index {
    /// Finds the `k` best documents for each query, best first. Without a common word, BM25 finds nothing.
    ///
    /// # Errors
    /// [`Error::Request`] for dense search without vectors or without their encoder; [`Error::Index`] for damaged files.
    pub fn search(
        &self,
        queries: &[&str],
        k: usize,
        mode: Mode,
        embedder: Option<&Embedder>,
        pool: &Pool,
    ) -> Result<Vec<Vec<Hit>>> {
        let searcher = self.reader.searcher();
        let found = self.rank(&searcher, queries, k, mode, embedder, pool)?;
        let hit = |(address, score, bm25, dense)| {
            Ok(Hit { document: self.document(&searcher, address)?, score, bm25, dense })
        };
        found.into_iter().map(|ranking| ranking.into_iter().map(hit).collect()).collect()
    }

    /// As [`Index::search`], names and scores only: what a run needs, without reading the documents.
    ///
    /// # Errors
    /// As [`Index::search`].
    pub fn search_ids(
        &self,
        queries: &[&str],
        k: usize,
        mode: Mode,
        embedder: Option<&Embedder>,
        pool: &Pool,
    ) -> Result<Vec<Vec<(String, f64)>>> {
        let searcher = self.reader.searcher();
        let columns: Vec<_> = searcher
            .segment_readers()
            .iter()
            .map(|segment| segment.fast_fields().str("id"))
            .collect::<std::result::Result<_, _>>()?;
        let id = |address: DocAddress| -> Result<String> {
            let mut id = String::new();
            if let Some(Some(ids)) = columns.get(address.segment_ord as usize) {
                for ord in ids.term_ords(address.doc_id) {
                    ids.ord_to_str(ord, &mut id).map_err(|source| self.unreadable(source))?;
                }
            }
            Ok(id)
        };
        let found = self.rank(&searcher, queries, k, mode, embedder, pool)?;
        let named = |ranking: Vec<Ranked>| ranking.into_iter().map(|hit| Ok((id(hit.0)?, hit.1))).collect();
        found.into_iter().map(named).collect()
    }

    fn rank(
        &self,
        searcher: &Searcher,
        queries: &[&str],
        k: usize,
        mode: Mode,
        embedder: Option<&Embedder>,
        pool: &Pool,
    ) -> Result<Vec<Vec<Ranked>>> {
        let depth = if matches!(mode, Mode::Bm25 | Mode::Dense) { k } else { DEPTH.max(k) };
        let words = match mode {
            Mode::Dense => vec![Vec::new(); queries.len()],
            _ => self.all_by_words(searcher, queries, depth, pool.threads())?,
        };
        let near = match mode {
            Mode::Bm25 => vec![Vec::new(); queries.len()],
            _ => self.by_vectors(searcher, queries, depth, embedder, pool)?,
        };
        let fused = |(words, near): (Found, Found)| {
            let names = |found: &Found| found.iter().map(|(address, _)| *address).collect::<Vec<_>>();
            let ranking = match mode {
                Mode::Bm25 => words.clone(),
                Mode::Dense => near.clone(),
                Mode::Hybrid => fusion::reciprocal_rank(&[names(&words), names(&near)]),
                Mode::Weighted(share) => {
                    fusion::weighted(&[(1.0 - share, words.clone()), (share, near.clone())])
                }
            };
            let (words, near) = (BTreeMap::from_iter(words), BTreeMap::from_iter(near));
            let ranked = |(address, score)| {
                (address, score, words.get(&address).copied(), near.get(&address).copied())
            };
            ranking.into_iter().take(k).map(ranked).collect()
        };
        Ok(words.into_iter().zip(near).map(fused).collect())
    }

    fn all_by_words(
        &self,
        searcher: &Searcher,
        queries: &[&str],
        k: usize,
        threads: usize,
    ) -> Result<Vec<Found>> {
        let analyzer = self.language.analyzer();
        let share = queries.len().div_ceil(threads).max(1);
        let find = |part: &[&str]| -> Result<Vec<Found>> {
            let mut analyzer = analyzer.clone();
            part.iter().map(|query| self.by_words(searcher, &mut analyzer, query, k)).collect()
        };
        if queries.len() <= 1 {
            return find(queries);
        }
        std::thread::scope(|scope| {
            let parts: Vec<_> = queries.chunks(share).map(|part| scope.spawn(|| find(part))).collect();
            let joined = parts.into_iter().map(|part| {
                part.join().map_err(|_| Error::Request("a thread of the search ended early".into()))?
            });
            Ok(joined.collect::<Result<Vec<_>>>()?.concat())
        })
    }

    fn by_words(
        &self,
        searcher: &Searcher,
        analyzer: &mut TextAnalyzer,
        query: &str,
        k: usize,
    ) -> Result<Found> {
        let mut counts = BTreeMap::<String, u32>::new();
        for term in terms(analyzer, query) {
            *counts.entry(term).or_default() += 1;
        }
        let clause = |(term, count): (String, u32)| -> (Occur, Box<dyn Query>) {
            let term = Term::from_field_text(self.fields.body, &term);
            let query: Box<dyn Query> = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
            // A word that stands twice counts twice.
            (Occur::Should, if count > 1 { Box::new(BoostQuery::new(query, count as f32)) } else { query })
        };
        let query = BooleanQuery::new(counts.into_iter().map(clause).collect());
        let found = searcher.search(&query, &TopDocs::with_limit(k.max(1)).order_by_score())?;
        Ok(found.into_iter().take(k).map(|(score, address)| (address, f64::from(score))).collect())
    }

    fn by_vectors(
        &self,
        searcher: &Searcher,
        queries: &[&str],
        k: usize,
        embedder: Option<&Embedder>,
        pool: &Pool,
    ) -> Result<Vec<Found>> {
        let Some(encoder) = self.encoder() else {
            let message = format!(
                "{} has no vectors; search it with mode bm25, or build it with an encoder",
                self.folder.display()
            );
            return Err(Error::Request(message));
        };
        let embedder = embedder.filter(|embedder| embedder.identity() == encoder).ok_or_else(|| {
            Error::Request(format!(
                "the vectors are of {} (SHA-256 {}); load that encoder",
                encoder.name, encoder.sha256
            ))
        })?;
        let dense = match self.dense.get() {
            Some(dense) => dense,
            None => {
                let read = self.read_dense(searcher, encoder.width, pool)?;
                self.dense.get_or_init(|| read)
            }
        };
        let vectors = embedder.embed(queries)?;
        let found = dense.vectors.search(pool, &vectors, k, &dense.alive);
        let named = |ranking: Vec<(usize, f32)>| {
            let address = |(row, score): (usize, f32)| Some((dense.addresses[row]?, f64::from(score)));
            ranking.into_iter().filter_map(address).collect()
        };
        Ok(found.into_iter().map(named).collect())
    }

    fn read_dense(&self, searcher: &Searcher, width: usize, pool: &Pool) -> Result<Dense> {
        let mut rows = Vec::new();
        for file in &self.manifest.vectors {
            if rows.len() as u64 != file.first * width as u64 {
                let problem = "its files of vectors do not follow each other; build the index again".into();
                return Err(Error::Index { path: self.folder.clone(), problem });
            }
            rows.extend(vectors::read(&file.path(&self.folder), width, file.rows as usize)?);
        }
        let count = rows.len() / width;
        let mut addresses = vec![None; count];
        for (segment_ord, segment) in searcher.segment_readers().iter().enumerate() {
            let column = segment.fast_fields().u64("row")?;
            for doc_id in segment.doc_ids_alive() {
                let row = column.first(doc_id).and_then(|row| usize::try_from(row).ok());
                if let Some(place) = row.and_then(|row| addresses.get_mut(row)) {
                    *place = Some(DocAddress { segment_ord: segment_ord as u32, doc_id });
                }
            }
        }
        let alive = addresses.iter().map(Option::is_some).collect();
        Ok(Dense { vectors: Vectors::new(pool, width, &rows), addresses, alive })
    }

    fn document(&self, searcher: &Searcher, address: DocAddress) -> Result<Document> {
        let stored: TantivyDocument = searcher.doc(address)?;
        let json = stored.get_first(self.fields.document).and_then(|value| value.as_str());
        json.and_then(|json| serde_json::from_str(json).ok()).ok_or_else(|| Error::Index {
            path: self.folder.clone(),
            problem: "holds a document that can't be read; build the index again from its corpus".into(),
        })
    }
}

/// Where a document is, its score, BM25's and the cosine.
type Ranked = (DocAddress, f64, Option<f64>, Option<f64>);
