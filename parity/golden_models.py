"""Two-layer random decoders of every family: logits, loss and the gradient of every tensor.

Each model is a folder in the Hugging Face layout (config.json + model.safetensors) with expected.safetensors beside it.
The configurations are written by hand, in both spellings found in the wild: `rope_theta` + `rope_scaling` +
`torch_dtype` (published until 2025) and `rope_parameters` + `dtype` (written by transformers 5).
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from provenance import as_metadata, provenance

VOCAB = 251  # odd on purpose: nothing may rely on a round vocabulary
LENGTHS = (100, 37)

SHARED = {
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 88,
    "max_position_embeddings": 256,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "use_cache": True,
    "vocab_size": VOCAB,
}

MODELS = {
    # original_max_position_embeddings 32: of the eight frequencies one is kept, one is blended, six are divided.
    "llama-rope-scaled": SHARED
    | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 32,
            "rope_type": "llama3",
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    },
    "llama-tied": SHARED
    | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    },
    # Published Qwen2 configurations name a sliding window and switch it off.
    "qwen2": SHARED
    | {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "max_window_layers": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "sliding_window": 256,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_sliding_window": False,
    },
    # head_dim 24: four heads make 96, not the hidden size.
    "qwen3": SHARED
    | {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "dtype": "float32",
        "head_dim": 24,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
        "sliding_window": None,
        "tie_word_embeddings": False,
    },
}


def make(golden: Path) -> None:
    for seed, (name, config) in enumerate(MODELS.items()):
        make_model(golden / name, config, seed)


def make_model(folder: Path, config: dict, seed: int) -> None:
    """Writes the model, loads it back as a user would, and records what transformers computes with it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generator = torch.Generator().manual_seed(1000 + seed)
    save_file(random_weights(folder, generator), folder / "model.safetensors", metadata={"format": "pt"})

    # In f64: the rounding of PyTorch's own f32 gradients (up to 3e-5 of a tensor's RMS) would eat the tolerance of 1e-4.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    sequences = [torch.randint(0, VOCAB, (n,), generator=generator) for n in LENGTHS]
    expected = forward_backward(model, sequences)
    if config.get("rope_scaling"):
        demand_that_scaling_matters(model, sequences[0], expected["logits.0"])
    save_file(expected, folder / "expected.safetensors", metadata=as_metadata(provenance("models", seed=1000 + seed)))


def random_weights(folder: Path, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights large enough that attention is not flat and every nonlinearity bends."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    tied = model.config.tie_word_embeddings
    weights = {}
    for name, shape in sorted((n, p.shape) for n, p in model.named_parameters()):
        if tied and name == "lm_head.weight":
            continue
        noise = torch.randn(shape, generator=generator)
        if "norm" in name:
            weights[name] = 1 + 0.2 * noise
        elif name.endswith("bias"):
            weights[name] = 0.3 * noise
        elif "embed_tokens" in name:
            weights[name] = (0.25 if tied else 1.0) * noise
        else:
            weights[name] = 1.5 * noise / shape[1] ** 0.5
    return weights


def forward_backward(model: torch.nn.Module, sequences: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mean cross-entropy over the targets of all sequences together; each sequence runs alone, unpadded."""
    expected = {}
    losses = []
    model.zero_grad()
    for i, ids in enumerate(sequences):
        logits = model(input_ids=ids[None]).logits[0]
        log_probabilities = logits[:-1].log_softmax(-1)
        logp = log_probabilities.gather(1, ids[1:, None])[:, 0]
        losses.append(-logp)
        expected[f"ids.{i}"] = ids.to(torch.int32)
        expected[f"logits.{i}"] = logits.detach()
        expected[f"logp.{i}"] = logp.detach()
        expected[f"entropy.{i}"] = -(log_probabilities.exp() * log_probabilities).sum(-1).detach()
    loss = torch.cat(losses).mean()
    loss.backward()
    expected["loss"] = loss.detach().reshape(1)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            expected[f"grad.{name}"] = parameter.grad.clone()
    return {n: (t.float() if t.is_floating_point() else t).contiguous() for n, t in expected.items()}


def demand_that_scaling_matters(model: torch.nn.Module, ids: torch.Tensor, scaled: torch.Tensor) -> None:
    config = type(model.config)(**{**model.config.to_dict(), "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}})
    plain = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    plain.to(torch.float64).load_state_dict(model.state_dict())
    with torch.no_grad():
        gap = (plain(input_ids=ids[None]).logits[0] - scaled).abs().max().item()
    if gap < 0.1:
        raise SystemExit(f"rope scaling changes the logits by {gap} only: the golden file would not notice its absence")
