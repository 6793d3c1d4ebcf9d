"""The comparisons: which command line each side gets, and the bars."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Side:
    name: str
    environment: str  # "lyceum", "torch", "llama" or "llama-avx2"
    command: tuple[str, ...]  # Lyceum's options; else a script and its options


@dataclass(frozen=True)
class Bar:
    """Lyceum's rate over the peer's: what it must reach, what is hoped for; its memory over the peer's: the most allowed.
    `peer` "fastest" is the fastest of the case's peers; "own train" is Lyceum itself in the case `train`."""

    peer: str
    floor: float
    goal: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    sides: tuple[Side, ...]
    bars: tuple[Bar, ...] = field(default=())


MODEL = "smollm2-135m-instruct-q4_1"
BF16_FILE = "{bf16_gguf}"  # filled in by the driver


def lyceum(case: str, *options: str, avx2: bool = False) -> Side:
    level = ("--cpu-level", "avx2") if avx2 else ()
    return Side("lyceum", "lyceum", ("bench", "--json", "--case", case, *options, *level))


def torch(name: str, script: str, *options: str) -> Side:
    return Side(name, "torch", (script, *options))


def train(avx2: bool) -> Case:
    peers = tuple(torch(f"torch {p}", "torch_train.py", "--precision", p) for p in ("bf16", "f32"))
    bars = (Bar("fastest", 1.0),) if avx2 else (Bar("torch bf16", 1.3, 1.7, 0.65),)
    return Case("train", "training 8 x 256, all parameters, AdamW", (lyceum("train", "--model", MODEL, avx2=avx2), *peers), bars)


def lora(avx2: bool) -> Case:
    peers = tuple(torch(f"peft {p}", "torch_train.py", "--lora", "--precision", p) for p in ("bf16", "f32"))
    sides = (lyceum("lora", "--model", MODEL, avx2=avx2), *peers)
    return Case("lora", "training 8 x 256, LoRA r 16 on every linear layer", sides, () if avx2 else (Bar("own train", 1.25, memory=0.6),))


def decode(batch: int, avx2: bool) -> Case:
    environment = "llama-avx2" if avx2 else "llama"
    size = ("--batch", str(batch))
    sides = (
        lyceum("decode", *size, "--model", MODEL, avx2=avx2),
        Side("llama.cpp BF16", environment, ("llama_decode.py", *size, "--model", BF16_FILE)),
        torch("transformers bf16", "torch_decode.py", *size),
        *((torch("transformers f32", "torch_decode.py", *size, "--precision", "f32"),) if avx2 else ()),
    )
    if avx2:
        bars = (Bar("fastest", 0.9),)
    elif batch == 1:
        bars = (Bar("llama.cpp BF16", 0.95, 1.3),)
    else:
        bars = (Bar("llama.cpp BF16", 1.3, 2.0),)
        bars += (Bar("transformers bf16", 2.5),) if batch == 64 else ()
    return Case(f"decode-{batch}", f"decoding, batch {batch}, 64 new tokens after 64", sides, bars)


def grpo(prompts: int, samples: int, new_tokens: int) -> Case:
    size = ("--batch", str(prompts), "--samples", str(samples), "--new-tokens", str(new_tokens))
    sides = (lyceum("grpo", *size, "--model", MODEL), torch("trl bf16", "trl_grpo.py", *size), torch("trl f32", "trl_grpo.py", *size, "--precision", "f32"))
    bars = (Bar("fastest", 3.0, 5.0, 0.6),)
    return Case(f"grpo-{prompts}x{samples}x{new_tokens}", f"GRPO step, {prompts} prompts x {samples} samples x {new_tokens} new tokens", sides, bars)


def gemm() -> Case:
    sides = (lyceum("gemm"), torch("torch bf16", "torch_gemm.py"), torch("torch f32", "torch_gemm.py", "--precision", "f32"))
    return Case("gemm", "x W^T", sides)


def all_cases(avx2: bool) -> list[Case]:
    cases = [train(avx2), lora(avx2), *(decode(batch, avx2) for batch in (1, 16, 64))]
    return cases if avx2 else [*cases, grpo(4, 8, 64), grpo(8, 8, 128), gemm()]
