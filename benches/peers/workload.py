"""What every side of the comparison works on, and how it reports: one JSON line a round."""

import argparse
import json
import os
import random
import re
import sys
from pathlib import Path

TRAIN_SEQUENCES, TRAIN_LENGTH = 8, 256
PROMPT_TOKENS, NEW_TOKENS = 64, 64
LEARNING_RATE = 1e-6
VOCABULARY = 49152
FIRST_ORDINARY_TOKEN = 17  # below are the special ones
HERE = Path(__file__).resolve().parent


def arguments(*more: tuple[str, dict]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    for flag, options in more:
        parser.add_argument(flag, **options)
    return parser.parse_args()


def random_ids(rows: int, columns: int) -> list[list[int]]:
    """Every row different: nobody can share a prefix."""
    generator = random.Random(1)
    return [[generator.randrange(FIRST_ORDINARY_TOKEN, VOCABULARY) for _ in range(columns)] for _ in range(rows)]


def grpo_prompts(count: int) -> list[dict]:
    """{"prompt", "ids"}: word problems of about 65 tokens, chat template applied. Lyceum reads the same file."""
    prompts = json.loads((HERE / "prompts.json").read_text())["prompts"]
    if count > len(prompts):
        raise SystemExit(f"prompts.json holds {len(prompts)} prompts, {count} wanted")
    return prompts[:count]


def peak_rss() -> int:
    """The largest memory of this process so far, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def report(case: str, round_: int, seconds: float, tokens: int, **more) -> None:
    line = {"case": case, "round": round_, "seconds": seconds, "tokens": tokens, "peak_rss_bytes": peak_rss(), **more}
    print(json.dumps(line), flush=True)


def torch_ready(threads: int):
    """Imports PyTorch, quiet and with its threads set."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    return torch


def smollm2():
    """parity/smollm2.py: the model and the tokenizer."""
    sys.path.insert(0, str(HERE.parent.parent / "parity"))
    import smollm2

    return smollm2
