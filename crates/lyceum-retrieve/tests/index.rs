//! An index on disk: what is added, replaced, deleted, cut off and damaged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use lyceum_kernels::Pool;
use lyceum_retrieve::{Added, Document, Index, Mode, Options};

fn options() -> Options {
    Options { language: "english".into(), encoder: None }
}

fn document(id: &str, text: &str) -> Document {
    Document { id: id.into(), text: text.into(), ..Document::default() }
}

fn ids(index: &Index, query: &str) -> Vec<String> {
    let found = index.search_ids(&[query], 10, Mode::Bm25, None, &Pool::new(1)).unwrap();
    found.into_iter().flatten().map(|(id, _)| id).collect()
}

fn add(index: &mut Index, documents: &[Document]) -> Added {
    index.add(documents, None, |_| {}).unwrap()
}

#[test]
fn documents_come_change_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = Index::open_or_create(folder.path(), &options()).unwrap();
    let three = [document("a", "red apples"), document("b", "green apples"), document("c", "a blue sky")];
    assert_eq!(add(&mut index, &three), Added { new: 3, ..Added::default() });
    assert_eq!(ids(&index, "blue apple").len(), 3);
    assert_eq!(add(&mut index, &three), Added { unchanged: 3, ..Added::default() });
    let changed = [document("a", "yellow pears"), document("b", "green apples")];
    assert_eq!(add(&mut index, &changed), Added { replaced: 1, unchanged: 1, ..Added::default() });
    assert_eq!(ids(&index, "apples"), ["b"]);
    assert_eq!((index.delete(&["b", "nobody"]).unwrap(), index.len()), (1, 2));
    drop(index);
    let index = Index::open(folder.path()).unwrap();
    assert_eq!((ids(&index, "apples").len(), ids(&index, "pear")), (0, vec!["a".to_string()]));
    assert!(ids(&index, "").is_empty() && ids(&index, "+-\"title:(").is_empty());
    assert!(index.check().unwrap().is_empty());
}

#[test]
fn a_search_gives_back_the_whole_document() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = Index::open_or_create(folder.path(), &options()).unwrap();
    let mut one = document("a", "red apples");
    one.title = "Fruit".into();
    one.meta.insert("year".into(), 2001.into());
    add(&mut index, std::slice::from_ref(&one));
    let hits = index.search(&["fruit"], 3, Mode::Bm25, None, &Pool::new(1)).unwrap().remove(0);
    assert_eq!((hits.len(), &hits[0].document), (1, &one));
    assert!(hits[0].bm25 == Some(hits[0].score) && hits[0].dense.is_none());
}

#[test]
fn what_can_not_be_done_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let told = |path: &Path| Index::open(path).err().unwrap().to_string();
    assert!(told(folder.path()).contains("index build"));
    let unknown = Options { language: "klingon".into(), encoder: None };
    assert!(Index::open_or_create(folder.path(), &unknown).err().unwrap().to_string().contains("english"));
    let mut index = Index::open_or_create(folder.path(), &options()).unwrap();
    add(&mut index, &[document("a", "x")]);
    let dense = index.search_ids(&["x"], 3, Mode::Dense, None, &Pool::new(1)).unwrap_err().to_string();
    assert!(dense.contains("no vectors"), "{dense}");
    let german = Options { language: "german".into(), encoder: None };
    assert!(Index::open_or_create(folder.path(), &german).err().unwrap().to_string().contains("english"));
}

#[test]
fn leftovers_of_a_cut_off_writer_do_not_matter_and_damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = Index::open_or_create(folder.path(), &options()).unwrap();
    let orphan = folder.path().join("vectors-00000099.bin");
    std::fs::write(&orphan, b"half").unwrap();
    add(&mut index, &[document("a", "red apples")]);
    assert!(!orphan.exists());
    drop(index);
    let store = std::fs::read_dir(folder.path().join("bm25"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "store"))
        .unwrap();
    let mut bytes = std::fs::read(&store).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&store, bytes).unwrap();
    match Index::open(folder.path()) {
        Ok(index) => assert!(!index.check().unwrap().is_empty()),
        Err(error) => assert!(error.to_string().contains("again"), "{error}"),
    }
    std::fs::write(folder.path().join("bm25/meta.json"), b"{").unwrap();
    let told = Index::open(folder.path()).err().unwrap().to_string();
    assert!(told.contains("damaged") && told.contains("corpus"), "{told}");
}

#[test]
fn a_creation_that_was_cut_off_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("bm25");
    drop(Index::open_or_create(folder.path(), &options()).unwrap());
    // As it is before the first commit: no payload.
    let meta = std::fs::read_to_string(inside.join("meta.json")).unwrap();
    let mut meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
    meta.as_object_mut().unwrap().remove("payload");
    std::fs::write(inside.join("meta.json"), meta.to_string()).unwrap();
    assert!(Index::open(folder.path()).is_err());
    let mut index = Index::open_or_create(folder.path(), &options()).unwrap();
    add(&mut index, &[document("a", "red apples")]);
    assert_eq!(Index::open(folder.path()).unwrap().len(), 1);
}
