"""Drives the built program and compares with transformers and peft: conversion, tokenizer, generation, adapters."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import smollm2

ROOT = Path(__file__).resolve().parent.parent
NAME = "smollm2-135m-instruct-q4_1"
QUESTIONS = 6
NEW_TOKENS = 24
LOGP_TOLERANCE = 1e-3
LOGIT_TOLERANCE = 1e-3


def compare_program() -> bool:
    program = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "lyceum"
    if not program.exists():
        raise SystemExit(f"{program} is not there: cargo build --release")
    theirs = smollm2.load_model()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        call(program, "model", "convert", NAME, "--precision", "f32", "--out", str(folder / "converted"))
        checks = [
            compare_weights(folder / "converted", theirs),
            compare_tokenizer(folder / "converted"),
            compare_generation(program, folder, theirs, None),
        ]
        adapted = random_adapter(theirs, folder / "adapter")
        checks.append(compare_generation(program, folder, adapted, folder / "adapter"))
        options = ["--adapter", str(folder / "adapter"), "--precision", "f32", "--out", str(folder / "merged")]
        call(program, "model", "convert", NAME, *options)
        checks.append(compare_merged(folder / "merged", adapted))
    return all(checks)


def call(program: Path, *words: str) -> None:
    done = subprocess.run([program, *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"lyceum {' '.join(words)}: exit code {done.returncode}\n{done.stderr.strip()}")


def compare_weights(folder: Path, theirs) -> bool:
    """What we dequantise and write is what transformers dequantises, bit for bit, and loads without complaint."""
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    complaints = [kind for kind, keys in report.items() if keys]
    ours = dict(model.named_parameters())
    different = [name for name, p in theirs.named_parameters() if not torch.equal(p, ours[name])]
    print(f"weights: {len(ours) - len(different)} of {len(ours)} tensors bit for bit the same; complaints on loading: {complaints or 'none'}")
    return not different and not complaints


def compare_tokenizer(folder: Path) -> bool:
    known = json.loads((Path(__file__).parent / "golden" / "smollm2-tokenizer.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    same = sum(tokenizer(s["text"])["input_ids"] == s["ids"] for s in known["strings"])
    chats = sum(
        tokenizer.apply_chat_template(c["messages"], tokenize=False, add_generation_prompt=c["add_generation_prompt"]) == c["text"]
        for c in known["chats"]
    )
    print(f"tokenizer: {same} of {len(known['strings'])} strings, {chats} of {len(known['chats'])} chats the same")
    return same == len(known["strings"]) and chats == len(known["chats"])


def compare_generation(program: Path, folder: Path, theirs, adapter: Path | None) -> bool:
    """Every greedy token is transformers' most probable one after the same tokens, with the same log-probability."""
    cases = json.loads((Path(__file__).parent / "golden" / "smollm2-greedy.json").read_text())["cases"][:QUESTIONS]
    prompts, out = folder / "prompts.jsonl", folder / "answers.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": case["prompt"]}) + "\n" for case in cases))
    options = ["--adapter", str(adapter)] if adapter else []
    options += ["--prompts", str(prompts), "--out", str(out), "--precision", "f32", "--max-new-tokens", str(NEW_TOKENS)]
    call(program, "generate", "--model", NAME, *options)
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    tokens, different, worst = 0, 0, 0.0
    for case, answer in zip(cases, answers, strict=True):
        ids, logp = answer["completions"][0]["ids"], torch.tensor(answer["completions"][0]["logp"])
        if answer["prompt_ids"] != case["prompt_ids"] or not ids:
            print(f"generation: prompt ids differ or nothing generated for {case['prompt']!r}")
            return False
        whole = torch.tensor([answer["prompt_ids"] + ids])
        with torch.no_grad():
            rows = theirs(input_ids=whole).logits[0, len(answer["prompt_ids"]) - 1 : -1].log_softmax(-1)
        tokens += len(ids)
        different += (rows.argmax(-1) != torch.tensor(ids)).sum().item()
        worst = max(worst, (rows.gather(1, torch.tensor(ids)[:, None])[:, 0] - logp).abs().max().item())
    name = "generation with an adapter" if adapter else "generation"
    print(f"{name}: {tokens - different} of {tokens} greedy tokens the same, log-probabilities within {worst:.1e}")
    return different == 0 and worst <= LOGP_TOLERANCE


def random_adapter(model, folder: Path):
    """A PEFT adapter that changes the model a little, as peft writes it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    modules = ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=modules, task_type="CAUSAL_LM")).eval()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.005)
    adapted.save_pretrained(folder)
    return adapted


def compare_merged(folder: Path, adapted) -> bool:
    merged = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([json.loads((Path(__file__).parent / "golden" / "smollm2-gradient.json").read_text())["ids"][1]])
    with torch.no_grad():
        expected = adapted(input_ids=ids).logits
        with adapted.disable_adapter():
            plain = adapted(input_ids=ids).logits
        gap = (merged(input_ids=ids).logits - expected).abs().max().item()
    moved = (plain - expected).abs().max().item()
    print(f"merged adapter: logits within {gap:.1e} of peft's (the adapter moves them by {moved:.1f})")
    return gap <= LOGIT_TOLERANCE < moved
