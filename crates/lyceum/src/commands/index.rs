//! `lyceum index`.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use lyceum_kernels::Precision;
use lyceum_retrieve::document::{read_corpus, read_queries};
use lyceum_retrieve::{Embedder, Index, Mode, Options};
use lyceum_run::Progress;
use serde_json::json;

use crate::cli::{BuildArgs, IndexCommand, SearchArgs};
use crate::out;
use crate::session::Session;

/// Builds, searches, shrinks or checks an index.
pub fn run(session: &Session, command: &IndexCommand) -> Result<()> {
    match command {
        IndexCommand::Build(arguments) => build(session, arguments),
        IndexCommand::Search(arguments) => search(session, arguments),
        IndexCommand::Delete { index, ids } => {
            let mut opened = Index::open(index)?;
            let deleted = opened.delete(&ids.iter().map(String::as_str).collect::<Vec<_>>())?;
            if session.json {
                return session.print_json(&json!({"deleted": deleted, "documents": opened.len()}));
            }
            out!("deleted {deleted} of {} named; {} documents are left", ids.len(), opened.len());
            Ok(())
        }
        IndexCommand::Check { index } => {
            let damaged = Index::open(index)?.check()?;
            if session.json {
                session.print_json(&json!({"damaged": damaged}))?;
            }
            if !damaged.is_empty() {
                bail!(
                    "{} damaged: {}; build the index again from its corpus",
                    index.display(),
                    damaged.join(", ")
                );
            }
            if !session.json {
                out!("{}: every file fits its checksum", index.display());
            }
            Ok(())
        }
    }
}

/// Loads an encoder by the name that models have.
pub fn embedder(session: &Session, name: &str) -> Result<Embedder> {
    let hub = lyceum_hub::Hub::from_env()?;
    let found = hub.resolve(name, &session.downloads())?;
    let pool = session.pool()?;
    Embedder::read(&found.path, name, &found.sha256, &pool, Precision::Bf16)
        .with_context(|| format!("{name} can't be used as an encoder"))
}

fn build(session: &Session, arguments: &BuildArgs) -> Result<()> {
    let documents = read_corpus(&arguments.corpus)?;
    let embedder = match arguments.encoder.as_str() {
        "none" => None,
        name => Some(embedder(session, name)?),
    };
    let encoder = embedder.as_ref().map(|embedder| embedder.identity().clone());
    let options = Options { language: arguments.language.clone(), encoder };
    let mut index = Index::open_or_create(&arguments.out, &options)?;
    let begun = Instant::now();
    let progress = Progress::new("index", documents.len() as u64, 0, session.json);
    let added =
        index.add(&documents, embedder.as_ref(), |count| (0..count).for_each(|_| progress.step("")))?;
    progress.finish();
    let seconds = begun.elapsed().as_secs_f64();
    if session.json {
        return session.print_json(&json!({
            "documents": index.len(), "new": added.new, "replaced": added.replaced, "unchanged": added.unchanged,
            "wall": {"seconds": seconds},
        }));
    }
    out!(
        "{}: {} documents ({} new, {} replaced, {} unchanged) in {seconds:.1} s",
        arguments.out.display(),
        index.len(),
        added.new,
        added.replaced,
        added.unchanged
    );
    Ok(())
}

fn search(session: &Session, arguments: &SearchArgs) -> Result<()> {
    let index = Index::open(&arguments.index)?;
    let mode = match &arguments.mode {
        Some(mode) => mode.parse().map_err(|error| anyhow::anyhow!("--mode {mode}: {error}"))?,
        None if index.encoder().is_some() => Mode::Hybrid,
        None => Mode::Bm25,
    };
    let embedder = match index.encoder().filter(|_| mode != Mode::Bm25) {
        Some(encoder) => Some(embedder(session, &encoder.name)?),
        None => None,
    };
    let pool = session.pool()?;
    if let (Some(queries), Some(run)) = (&arguments.queries, &arguments.run) {
        let queries = read_queries(queries)?;
        let texts: Vec<&str> = queries.iter().map(|query| query.text.as_str()).collect();
        let begun = Instant::now();
        let found = index.search_ids(&texts, arguments.k, mode, embedder.as_ref(), &pool)?;
        let seconds = begun.elapsed().as_secs_f64();
        let found: BTreeMap<_, _> = queries.iter().map(|query| query.id.clone()).zip(found).collect();
        lyceum_run::write_file(run, lyceum_eval::trec::write_run(&found, "lyceum").as_bytes())?;
        if session.json {
            return session.print_json(&json!({"queries": queries.len(), "wall": {"seconds": seconds}}));
        }
        let rate = queries.len() as f64 / seconds.max(1e-9);
        out!("{} queries in {seconds:.2} s ({rate:.0} a second); run in {}", queries.len(), run.display());
        return Ok(());
    }
    let query = arguments.query.as_deref().context("give a question, or --queries FILE --run OUT")?;
    let hits = index.search(&[query], arguments.k, mode, embedder.as_ref(), &pool)?.pop().unwrap_or_default();
    if session.json {
        let hits: Vec<_> = hits
            .iter()
            .enumerate()
            .map(|(at, hit)| {
                json!({"rank": at + 1, "id": hit.document.id, "score": hit.score, "bm25": hit.bm25,
                    "dense": hit.dense, "title": hit.document.title, "text": hit.document.text})
            })
            .collect();
        return session.print_json(&json!({"query": query, "hits": hits}));
    }
    if hits.is_empty() {
        out!("nothing found");
    }
    let shown = |score: Option<f64>| score.map_or("      –".into(), |score| format!("{score:7.3}"));
    for (at, hit) in hits.iter().enumerate() {
        let head = if hit.document.title.is_empty() { &hit.document.id } else { &hit.document.title };
        out!(
            "{:3}  {:7.4}  bm25 {}  cosine {}  {head}",
            at + 1,
            hit.score,
            shown(hit.bm25),
            shown(hit.dense)
        );
        out!("     {}", shortened(&hit.document.text, 160));
    }
    Ok(())
}

/// The beginning of a text on one line, without control characters: a document must not steer the terminal.
pub fn shortened(text: &str, most: usize) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let clean: String = line.chars().filter(|c| !c.is_control()).take(most + 1).collect();
    if clean.chars().count() > most { clean.chars().take(most).chain(['…']).collect() } else { clean }
}
