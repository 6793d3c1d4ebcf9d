"""Golden files of metrics: pytrec-eval-terrier, sacrebleu, rouge-score, scikit-learn; and of MiniLM's sentence vectors."""

import json
import os
import random
from importlib.metadata import version
from pathlib import Path

from provenance import provenance

MINILM = Path(os.environ.get("LYCEUM_CACHE", Path.home() / ".cache/lyceum")) / "models/all-minilm-l6-v2"
PEERS = ("pytrec-eval-terrier", "sacrebleu", "rouge-score", "scikit-learn")

WORDS = "the a cat sat on mat red blue 3.5 1,000 it's well-known (so) end. U.S. naïve 東京 -5 yes no of".split()


def retrieval() -> dict:
    import pytrec_eval

    random.seed(3)
    run, qrels = {}, {}
    for q in range(40):
        # Few different scores: ties are many.
        run[f"q{q}"] = {f"d{d}": random.choice([0.5, 1.0, 1.5, random.random()]) for d in random.sample(range(60), 30)}
        qrels[f"q{q}"] = {f"d{d}": random.choice([0, 0, 1, 1, 2, 3]) for d in random.sample(range(60), random.choice([1, 8, 25]))}
    del run["q7"]
    qrels["q8"] = {"d1": 0}
    names = {
        "ndcg", "ndcg_cut_5", "ndcg_cut_10", "map", "map_cut_10", "recip_rank", "P_5", "P_10", "recall_10", "success_1",
        "success_5", "Rprec", "bpref",
    }
    values = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    return {"run": run, "qrels": qrels, "values": values}


def lexical() -> dict:
    import sacrebleu
    from rouge_score import rouge_scorer

    random.seed(4)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    rows = []
    for _ in range(120):
        reference = " ".join(random.choices(WORDS, k=random.randint(1, 14)))
        answer = " ".join(w for w in reference.split() + random.choices(WORDS, k=3) if random.random() < 0.8)
        second = " ".join(random.choices(WORDS, k=random.randint(1, 14)))
        rouge = scorer.score(reference, answer)
        rows.append({
            "answer": answer,
            "references": [reference, second],
            "bleu": sacrebleu.sentence_bleu(answer, [reference, second]).score,
            "chrf": sacrebleu.sentence_chrf(answer, [reference, second]).score,
            "rouge": {k: [v.precision, v.recall, v.fmeasure] for k, v in rouge.items()},
        })
    corpus = sacrebleu.corpus_bleu([r["answer"] for r in rows], [[r["references"][i] for r in rows] for i in range(2)])
    return {"rows": rows, "corpus_bleu": corpus.score}


def agreement() -> dict:
    from sklearn.metrics import cohen_kappa_score, roc_auc_score

    random.seed(5)
    cases = []
    for n in [10, 50, 200]:
        a = [random.randint(0, 3) for _ in range(n)]
        b = [x if random.random() < 0.6 else random.randint(0, 3) for x in a]
        scores = [random.choice([0.1, 0.5, random.random()]) for _ in range(n)]
        labels = [x > 1 for x in a]
        cases.append({
            "a": a, "b": b, "scores": scores,
            "nominal": cohen_kappa_score(a, b),
            "linear": cohen_kappa_score(a, b, weights="linear"),
            "quadratic": cohen_kappa_score(a, b, weights="quadratic"),
            "auc": roc_auc_score(labels, scores),
        })
    return {"cases": cases}


def vectors() -> dict:
    """What sentence-transformers does: 256 tokens, mean of the rows, length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(MINILM), AutoModel.from_pretrained(MINILM).eval()
    random.seed(6)
    texts = ["a", "!!! ???", "naïve café 🙂", "東京都 is a capital", "word " * 2000]
    texts += [" ".join(random.choices(WORDS, k=random.randint(1, 60))) for _ in range(45)]
    with torch.no_grad():
        batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1).float()
        mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    return {"texts": texts, "vectors": [[round(x, 6) for x in row] for row in mean.tolist()]}


def make(golden: Path) -> None:
    folder = golden / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in {"retrieval": retrieval, "lexical": lexical, "agreement": agreement, "vectors": vectors}.items():
        record = {"provenance": provenance("evaluation", peers={peer: version(peer) for peer in PEERS}), **part()}
        (folder / f"{name}.json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
