#!/usr/bin/env python3
"""Makes the golden files: what PyTorch, transformers, peft and TRL answer to fixed questions.

    python parity/make_golden.py [models] [rl] [lora] [smollm2] [tokenizer] [evaluation]      (all parts without an argument)

The tests read parity/golden/ and never need PyTorch. Formats: parity/README.md.
"""

import importlib
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")

GOLDEN = Path(__file__).resolve().parent / "golden"
PARTS = {
    "models": "golden_models",
    "rl": "golden_rl",
    "lora": "golden_lora",
    "smollm2": "golden_smollm2",
    "tokenizer": "golden_tokenizer",
    "evaluation": "golden_evaluation",
}


def main(arguments: list[str]) -> int:
    unknown = [name for name in arguments if name not in PARTS]
    if unknown:
        print(f"unknown part {unknown[0]!r}; parts: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    import torch

    import transformers

    transformers.logging.disable_progress_bar()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    for part in arguments or PARTS:
        importlib.import_module(PARTS[part]).make(GOLDEN)
        print(f"made {part}")
    for path in sorted(p for p in GOLDEN.rglob("*") if p.is_file()):
        size = path.stat().st_size
        print(f"{size:>9} {path.relative_to(GOLDEN)}")
        if size >= 1_000_000:
            print(f"{path} is over 1 MB", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
