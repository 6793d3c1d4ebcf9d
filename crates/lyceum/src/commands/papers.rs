//! `lyceum papers`.

use anyhow::Result;
use lyceum_papers::{PAPERS, aligned};

use crate::out;
use crate::session::Session;

/// Lists the papers.
pub fn run(session: &Session) -> Result<()> {
    if session.json {
        return session.print_json(&PAPERS.as_slice());
    }
    let head = ["name", "arXiv", "status", "card", "title"].map(String::from).to_vec();
    let rows = PAPERS.iter().map(|paper| {
        let card = paper.card.unwrap_or("–");
        [paper.name, paper.arxiv, paper.status.name(), card, paper.title].map(String::from).to_vec()
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    out!("{}", aligned(&rows).trim_end());
    Ok(())
}
