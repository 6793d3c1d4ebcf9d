//! The sentence encoder against what sentence-transformers computes, by golden files. Needs the model, which it fetches.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking"
)]

use lyceum_hub::{Hub, Silent};
use lyceum_kernels::{Pool, Precision};
use lyceum_retrieve::embed::cosine;
use lyceum_retrieve::{Document, Embedder, Index, Mode, Options};

fn embedder(precision: Precision) -> Embedder {
    let found = Hub::from_env().unwrap().resolve("all-minilm-l6-v2", &Silent).unwrap();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    Embedder::read(&found.path, "all-minilm-l6-v2", &found.sha256, &Pool::new(threads), precision).unwrap()
}

#[derive(serde::Deserialize)]
struct Golden {
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

fn golden() -> Golden {
    let path = format!("{}/../../parity/golden/evaluation/vectors.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
#[ignore = "needs_model: pulls all-MiniLM-L6-v2"]
fn needs_model_vectors_are_sentence_transformers() {
    let golden = golden();
    let texts: Vec<&str> = golden.texts.iter().map(String::as_str).collect();
    for (precision, least) in [(Precision::F32, 0.999_999), (Precision::Bf16, 0.9999)] {
        let embedder = embedder(precision);
        let found = embedder.embed(&texts).unwrap();
        for ((own, wanted), text) in found.chunks_exact(384).zip(&golden.vectors).zip(&texts) {
            let cosine = cosine(own, wanted);
            assert!(cosine >= least, "{precision:?} {cosine}: {text:?}");
        }
        // Alone or among others, in any order: the same bits.
        let alone: Vec<f32> = texts.iter().rev().flat_map(|text| embedder.embed(&[text]).unwrap()).collect();
        let turned: Vec<f32> = found.chunks_exact(384).rev().flatten().copied().collect();
        assert!(alone == turned);
    }
}

#[test]
#[ignore = "needs_model: pulls all-MiniLM-L6-v2"]
fn needs_model_vectors_follow_their_documents() {
    let embedder = embedder(Precision::Bf16);
    let folder = tempfile::tempdir().unwrap();
    let options = Options { language: "english".into(), encoder: Some(embedder.identity().clone()) };
    let mut index = Index::open_or_create(folder.path(), &options).unwrap();
    let document =
        |id: &str, text: &str| Document { id: id.into(), text: text.into(), ..Document::default() };
    let texts = [
        ("a", "The cat sleeps on the sofa."),
        ("b", "Interest rates rose again."),
        ("c", "A volcano erupted."),
    ];
    index.add(&texts.map(|(id, text)| document(id, text)), Some(&embedder), |_| {}).unwrap();
    let pool = Pool::new(1);
    let best = |index: &Index, query: &str, mode| {
        index.search_ids(&[query], 2, mode, Some(&embedder), &pool).unwrap().remove(0).remove(0).0
    };
    assert_eq!(best(&index, "a kitten takes a nap", Mode::Dense), "a");
    index.add(&[document("a", "Lava flowed down the mountain.")], Some(&embedder), |_| {}).unwrap();
    index.delete(&["c"]).unwrap();
    drop(index);
    let index = Index::open(folder.path()).unwrap();
    assert_eq!(best(&index, "eruption of a volcano", Mode::Dense), "a");
    assert_eq!(best(&index, "lava", Mode::Hybrid), "a");
    assert_eq!(index.search_ids(&["x"], 9, Mode::Dense, Some(&embedder), &pool).unwrap()[0].len(), 2);
}
