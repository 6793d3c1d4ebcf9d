"""llama-tied-lora: a PEFT adapter on the golden model llama-tied; what peft computes with it, and the adapter's gradient."""

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from golden_models import forward_backward
from provenance import as_metadata, provenance

TARGETS = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
SEED = 2000


def make(golden: Path) -> None:
    base = golden / "llama-tied"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64, attn_implementation="eager").eval()
    config = LoraConfig(r=4, lora_alpha=6, lora_dropout=0.0, bias="none", target_modules=TARGETS, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in sorted(adapted.named_parameters()):
        if "lora_" in name:
            parameter.data = (0.3 * torch.randn(parameter.shape, generator=generator)).double()

    known = load_file(base / "expected.safetensors")
    answer = forward_backward(adapted, [known["ids.0"].long(), known["ids.1"].long()])
    expected = {}
    for name, tensor in answer.items():
        # as the adapter file names them
        expected[name.replace(".default.weight", ".weight")] = tensor
    if (expected["logits.0"] - known["logits.0"]).abs().max() < 0.1:
        raise SystemExit("the adapter changes nothing: the golden file would not notice its absence")
    del expected["logits.0"]  # the second sequence's say enough

    folder = golden / "llama-tied-lora"
    adapted.float().save_pretrained(folder)
    (folder / "README.md").unlink()
    settle(folder / "adapter_config.json")
    save_file(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    save_file(expected, folder / "expected.safetensors", metadata=as_metadata(provenance("lora", seed=SEED)))


def settle(path: Path) -> None:
    """peft writes the modules in the order of a set, and this machine's path of the base model."""
    config = json.loads(path.read_text())
    config["target_modules"].sort()
    config["base_model_name_or_path"] = "llama-tied"
    path.write_text(json.dumps(config, indent=2) + "\n")
