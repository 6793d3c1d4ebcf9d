#!/usr/bin/env python3
"""Retrieval side by side: Lyceum, bm25s, rank_bm25, sentence-transformers, on one corpus with known items.

    benches/peers/retrieval.py --lyceum BINARY --corpus CORPUS.jsonl --queries QUERIES.jsonl --qrels QRELS [--rounds 3] [--texts 2000]

Rounds are interleaved; the median of each is reported. Two threads each.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def lines(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def main():
    parser = argparse.ArgumentParser()
    for name in ("lyceum", "corpus", "queries", "qrels"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2000, help="texts for the encoders")
    arguments = parser.parse_args()
    import bm25s
    import numpy as np
    import torch
    from rank_bm25 import BM25Okapi
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(2)
    corpus, queries = lines(arguments.corpus), lines(arguments.queries)
    texts = [(d.get("title", "") + "\n" + d["text"]).strip() for d in corpus]
    asked = [q["query"] for q in queries]
    few = asked[:300]
    work = tempfile.mkdtemp(dir="/dev/shm")
    encoder = SentenceTransformer(os.path.expanduser("~/.cache/lyceum/models/all-minilm-l6-v2"), device="cpu")
    part = texts[:: max(1, len(texts) // arguments.texts)][: arguments.texts]
    with open(f"{work}/part.jsonl", "w", encoding="utf-8") as out:
        for number, text in enumerate(part):
            out.write(json.dumps({"id": str(number), "text": text}) + "\n")
    seconds, runs = {}, {}

    def note(name, value):
        seconds.setdefault(name, []).append(value)

    def lyceum(*words):
        done = subprocess.run([arguments.lyceum, *words, "--json", "--threads", "2"], check=True, capture_output=True)
        return json.loads(done.stdout)["wall"]["seconds"]

    def ranked(name, ids):
        runs[name] = {q["id"]: [corpus[i]["id"] for i in row] for q, row in zip(queries, ids)}

    for _ in range(arguments.rounds):
        shutil.rmtree(f"{work}/bm", ignore_errors=True)
        shutil.rmtree(f"{work}/dense", ignore_errors=True)
        note("index lyceum", lyceum("index", "build", arguments.corpus, "--out", f"{work}/bm", "--encoder", "none"))
        note("query lyceum", lyceum("index", "search", f"{work}/bm", "--queries", arguments.queries, "--run", f"{work}/lyceum.trec", "-k", "100", "--mode", "bm25"))
        begun = time.perf_counter()
        tokens = bm25s.tokenize(texts, stopwords="en", show_progress=False)
        retriever = bm25s.BM25(method="lucene")
        retriever.index(tokens, show_progress=False)
        note("index bm25s", time.perf_counter() - begun)
        begun = time.perf_counter()
        found, _ = retriever.retrieve(bm25s.tokenize(asked, stopwords="en", show_progress=False), k=100, show_progress=False, n_threads=2)
        note("query bm25s", time.perf_counter() - begun)
        ranked("bm25s", found.tolist())
        begun = time.perf_counter()
        okapi = BM25Okapi([text.lower().split() for text in texts])
        note("index rank_bm25", time.perf_counter() - begun)
        begun = time.perf_counter()
        found = [np.argsort(-okapi.get_scores(query.lower().split()))[:100].tolist() for query in few]
        note("query rank_bm25", (time.perf_counter() - begun) * len(asked) / len(few))
        note("encode lyceum", lyceum("index", "build", f"{work}/part.jsonl", "--out", f"{work}/dense"))
        begun = time.perf_counter()
        encoder.encode(part, batch_size=32, show_progress_bar=False)
        note("encode sentence-transformers", time.perf_counter() - begun)
    with open(f"{work}/bm25s.trec", "w", encoding="utf-8") as out:
        for query, ids in runs["bm25s"].items():
            out.writelines(f"{query} Q0 {d} {i + 1} {-i} bm25s\n" for i, d in enumerate(ids))
    quality = {}
    for name in ("lyceum", "bm25s"):
        done = subprocess.run([arguments.lyceum, "score", "retrieval", "--run", f"{work}/{name}.trec", "--qrels", arguments.qrels, "--metric", "ndcg@10", "--json"], check=True, capture_output=True)
        quality[name] = json.loads(done.stdout)["metrics"]["ndcg@10"]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = lambda a, b: medians[a] / medians[b]
    print(json.dumps({
        "documents": len(texts), "queries": len(asked), "encoded": len(part), "rounds": arguments.rounds,
        "median_seconds": medians, "all_seconds": seconds, "ndcg@10": quality,
        "ratios": {
            "indexing over bm25s": ratio("index bm25s", "index lyceum"),
            "indexing over rank_bm25": ratio("index rank_bm25", "index lyceum"),
            "queries over bm25s": ratio("query bm25s", "query lyceum"),
            "queries over rank_bm25": ratio("query rank_bm25", "query lyceum"),
            "encoding over sentence-transformers": ratio("encode sentence-transformers", "encode lyceum"),
        },
    }, indent=1))
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
