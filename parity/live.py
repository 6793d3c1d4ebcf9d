#!/usr/bin/env python3
"""Loads what Lyceum wrote into transformers and peft, and compares what they compute. Exit code 1 when something differs.

    live.py                                                             (drives target/release/lyceum: live_program.py)
    live.py logits   --model M [--adapter A] --answers FILE.json        [--tolerance 1e-3]
    live.py greedy   --model M [--adapter A] --answers FILE.json
    live.py gradient --model M [--adapter A] --answers FILE.safetensors --ids FILE.json [--tolerance 1e-3]

M: a folder in the Hugging Face layout, or smollm2-135m-instruct-q4_1. A: a folder in PEFT's layout.

logits    {"sequences": [{"ids": [...], "rows": [...], "columns": [...], "logits": [[...], ...]}]}: logits[r][c] is that of
          token columns[c] after ids[..=rows[r]]. Without rows: all positions; without columns: the whole vocabulary.
          Largest absolute difference at most the tolerance.
greedy    {"sequences": [{"prompt_ids": [...], "tokens": [...]}]}: tokens must be transformers' greedy ones.
gradient  {"ids": [[...], ...]} and the gradient of the mean of -log p over all targets of all sequences, one tensor for
          each trainable parameter. |difference| at most tolerance x max(|g|, the tensor's RMS) for all but one element
          in a million (PyTorch's own f32 runs differ by more there, see smollm2-gradient.json).
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import smollm2
from live_program import compare_program

OUTLIERS = 1e-6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["program", "logits", "greedy", "gradient"], default="program")
    parser.add_argument("--model")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--ids", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    if arguments.what == "program":
        return verdict(compare_program())
    if arguments.model is None or arguments.answers is None:
        parser.error(f"{arguments.what} needs --model and --answers")
    if arguments.what == "gradient" and arguments.ids is None:
        parser.error("gradient needs --ids")
    model = load(arguments.model, arguments.adapter, trainable=arguments.what == "gradient")
    if arguments.what == "gradient":
        ids = json.loads(arguments.ids.read_text())["ids"]
        good = compare_gradient(model, ids, load_file(arguments.answers), arguments.tolerance)
    else:
        sequences = json.loads(arguments.answers.read_text())["sequences"]
        if not sequences:
            raise SystemExit(f"{arguments.answers}: no sequences, nothing to compare")
        if arguments.what == "logits":
            good = compare_logits(model, sequences, arguments.tolerance)
        else:
            good = compare_greedy(model, sequences)
    return verdict(good)


def verdict(good: bool) -> int:
    print("agrees" if good else "DIFFERS")
    return 0 if good else 1


def load(name: str, adapter: Path | None, trainable: bool):
    if name == "smollm2-135m-instruct-q4_1":
        model = smollm2.load_model()
    else:
        model, report = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if report[kind]:
                raise SystemExit(f"{name}: {kind} {sorted(map(str, report[kind]))}")
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
    return model.eval()


@torch.no_grad()
def compare_logits(model, sequences: list[dict], tolerance: float) -> bool:
    worst = 0.0
    for sequence in sequences:
        theirs = model(input_ids=torch.tensor([sequence["ids"]])).logits[0]
        if "rows" in sequence:
            theirs = theirs[torch.tensor(sequence["rows"])]
        if "columns" in sequence:
            theirs = theirs[:, torch.tensor(sequence["columns"])]
        ours = torch.tensor(sequence["logits"])
        if ours.shape != theirs.shape:
            raise SystemExit(f"logits of shape {tuple(ours.shape)} given, {tuple(theirs.shape)} expected")
        gap = (ours - theirs).abs().max().item()
        worst = max(worst, gap if gap == gap else float("inf"))
    print(f"logits: {len(sequences)} sequences, largest difference {worst:.2e}, allowed {tolerance:.0e}")
    return worst <= tolerance


@torch.no_grad()
def compare_greedy(model, sequences: list[dict]) -> bool:
    same = 0
    for sequence in sequences:
        ids = torch.tensor([sequence["prompt_ids"]])
        wanted = sequence["tokens"]
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=1, max_new_tokens=len(wanted))
        theirs = out[0, ids.shape[1] :].tolist()
        if theirs == wanted:
            same += 1
        else:
            print(f"ours   {wanted}\ntheirs {theirs}")
    print(f"greedy: {same} of {len(sequences)} continuations the same")
    return same == len(sequences)


def compare_gradient(model, sequences: list[list[int]], ours: dict[str, torch.Tensor], tolerance: float) -> bool:
    targets = sum(len(s) - 1 for s in sequences)
    for ids in (torch.tensor(s) for s in sequences):
        logp = model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])
        (-logp.sum() / targets).backward()
    theirs = {n.replace(".default.weight", ".weight"): p.grad for n, p in model.named_parameters() if p.requires_grad}
    if ours.keys() != theirs.keys():
        raise SystemExit(f"missing: {sorted(theirs.keys() - ours.keys())}; unknown: {sorted(ours.keys() - theirs.keys())}")
    beyond, elements, worst, where = 0, 0, 0.0, ""
    for name, g in theirs.items():
        if ours[name].shape != g.shape:
            raise SystemExit(f"{name}: shape {tuple(ours[name].shape)} given, {tuple(g.shape)} expected")
        gap = (ours[name].float() - g).abs() / g.abs().clamp(min=g.square().mean().sqrt().item())
        beyond += (~(gap <= tolerance)).sum().item()
        elements += gap.numel()
        if not gap.max().item() <= worst:
            worst, where = gap.max().item(), name
    print(f"gradient: {len(theirs)} tensors, worst {worst:.2e} of max(|g|, RMS) in {where}; {beyond} of {elements} elements beyond {tolerance:.0e}")
    return beyond <= OUTLIERS * elements


if __name__ == "__main__":
    sys.exit(main())
