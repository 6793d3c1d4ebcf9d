#!/usr/bin/env python3
"""Pools public texts to a corpus with known-item questions: 2wiki, MedQuAD, ClapNQ, XQuAD English; or XQuAD of one language.

    pooled_corpus.py --data DATA --out FOLDER [--language de]

Writes corpus.jsonl, queries.jsonl and qrels.trec. Texts that are the same to the byte are one document.
"""

import argparse
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--language", default="", help="XQuAD of this language alone")
    arguments = parser.parse_args()
    documents: dict[tuple[str, str], str] = {}
    asked: dict[tuple[str, str], set[str]] = {}

    def add(text: str, title: str = "") -> str:
        return documents.setdefault((title, text), f"d{len(documents):05d}")

    def ask(source: str, question: str, document: str) -> None:
        asked.setdefault((source, question), set()).add(document)

    def lines(path: Path):
        return (json.loads(line) for line in path.open(encoding="utf-8"))

    data = arguments.data
    if not arguments.language:
        for row in json.loads((data / "qa/2wiki_corpus/2wikimultihopqa_corpus.json").read_text(encoding="utf-8")):
            add(row["text"], row["title"])
        for path in sorted((data / "medical/medquad").glob("*.jsonl")):
            for row in lines(path):
                for pair in row["qa"]:
                    ask("medquad", pair["question"], add(pair["answer"]))
        for row in lines(data / "rag_eval/clapnq/clapnq_dev_answerable.jsonl"):
            passage = row["passages"][0]
            ask("clapnq", row["input"], add(passage["text"], passage["title"]))
    articles = json.loads((data / f"qa/xquad/xquad.{arguments.language or 'en'}.json").read_text(encoding="utf-8"))["data"]
    for paragraph in (paragraph for article in articles for paragraph in article["paragraphs"]):
        known = add(paragraph["context"])
        for pair in paragraph["qas"]:
            ask("xquad", pair["question"], known)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "corpus.jsonl").open("w", encoding="utf-8") as out:
        for (title, text), name in documents.items():
            out.write(json.dumps({"id": name, "title": title, "text": text}, ensure_ascii=False) + "\n")
    with (arguments.out / "queries.jsonl").open("w", encoding="utf-8") as out, (arguments.out / "qrels.trec").open("w", encoding="utf-8") as qrels:
        for number, ((source, question), known) in enumerate(asked.items()):
            out.write(json.dumps({"id": f"{source}-{number}", "query": question}, ensure_ascii=False) + "\n")
            qrels.writelines(f"{source}-{number} 0 {name} 1\n" for name in sorted(known))
    print(f"{len(documents)} documents, {len(asked)} questions in {arguments.out}")


if __name__ == "__main__":
    main()
