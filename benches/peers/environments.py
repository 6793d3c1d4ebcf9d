"""The peers' Python environments, made on first use: PyTorch's (shared with parity/), llama.cpp's, llama.cpp's without AVX-512."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COMMON_FLAGS = "-DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF"
LLAMA_FLAGS = {
    # -march=native: with AVX-512 BF16 where the processor has it
    "llama": f"-DGGML_NATIVE=ON {COMMON_FLAGS}",
    "llama-avx2": f"-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF {COMMON_FLAGS}",
}


def home() -> Path:
    return Path(os.environ.get("LYCEUM_VENV") or ROOT / ".venv").resolve()


def python(name: str) -> Path:
    """The interpreter of `torch`, `llama` or `llama-avx2`; installs what is missing."""
    if name == "torch":
        out = subprocess.run([ROOT / "parity" / "setup.sh"], check=True, stdout=subprocess.PIPE, text=True)
        return Path(out.stdout.split("\n")[-2])
    return llama(name)


def llama(name: str) -> Path:
    folder = home() / "peers" / name
    interpreter, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = (HERE / "requirements.txt").read_text() + f"# {LLAMA_FLAGS[name]}\n"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"building llama.cpp ({name}) in {folder}: some ten minutes", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [interpreter, "-m", "pip", "install", "--quiet", "--requirement", HERE / "requirements.txt"]
        # A wheel cached by pip would be the other build. CMake and ninja come from PyPI, the compiler is the system's.
        install += ["--no-cache-dir", "--no-binary", "llama-cpp-python", "--force-reinstall"]
        subprocess.run(install, check=True, env=os.environ | {"CMAKE_ARGS": LLAMA_FLAGS[name]})
        stamp.write_text(wanted)
    return interpreter
