"""Where a golden file came from, stored inside the file."""

import json
import platform
from importlib.metadata import version

PACKAGES = ("torch", "transformers", "tokenizers", "trl", "peft", "numpy", "gguf")


def provenance(part: str, **extra) -> dict:
    """The command that makes the file again and the versions that made it."""
    return {
        "command": f"parity/make_golden.py {part}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        **extra,
    }


def as_metadata(record: dict) -> dict[str, str]:
    """As safetensors metadata: one string, since safetensors writes several keys in no fixed order."""
    return {"provenance": json.dumps(record)}
