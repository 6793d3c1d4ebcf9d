#!/usr/bin/env python3
"""Sentence vectors of the built program against sentence-transformers' on 500 texts: lengths from 1 word to beyond the cut, several scripts.

    live_encoder.py [--corpus CORPUS.jsonl]      texts of a corpus in the place of made ones

Exit code 1 when a cosine is under 0.9999.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from golden_evaluation import MINILM, WORDS

ROOT = Path(__file__).resolve().parent.parent
TEXTS = 500
LEAST = 0.9999
# Before the rows of a file of vectors, and after them (crates/lyceum-retrieve/src/vectors.rs).
HEAD, HASH = 24, 32


def main() -> int:
    from sentence_transformers import SentenceTransformer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    arguments = parser.parse_args()
    random.seed(8)
    if arguments.corpus:
        rows = [json.loads(line) for line in arguments.corpus.open(encoding="utf-8")]
        texts = [row["text"] for row in random.sample(rows, TEXTS)]
    else:
        texts = [" ".join(random.choices(WORDS, k=random.choice([1, 5, 20, 80, 400]))) for _ in range(TEXTS)]
    program = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "lyceum"
    with tempfile.TemporaryDirectory() as folder:
        lines = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts)]
        Path(folder, "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
        subprocess.run([program, "index", "build", f"{folder}/texts.jsonl", "--out", f"{folder}/index", "--json"], check=True, stdout=subprocess.DEVNULL)
        stored = Path(folder, "index", "vectors-00000000.bin").read_bytes()[HEAD:-HASH]
    ours = np.frombuffer(stored, dtype="<f4").reshape(TEXTS, -1)
    theirs = SentenceTransformer(str(MINILM), device="cpu").encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    cosines = (ours * theirs).sum(axis=1)
    good = bool(cosines.min() >= LEAST)
    print(f"sentence vectors: {TEXTS} texts, least cosine {cosines.min():.6f}, mean {cosines.mean():.6f}: {'ok' if good else 'DIFFER'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
