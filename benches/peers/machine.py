"""What machine this is and how busy."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

INTERESTING = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile")


def describe(root: Path) -> dict:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    flags = set(re.search(r"^flags\s*:(.*)$", cpuinfo, re.M).group(1).split())
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True).stdout.strip()
    changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], cwd=root, capture_output=True, text=True).stdout
    return {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()) + " UTC",
        "commit": commit + (" with changes" if changed.strip() else ""),
        "processor": re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.M).group(1),
        "family_model": "/".join(re.search(rf"^{key}\s*:\s*(\d+)$", cpuinfo, re.M).group(1) for key in ("cpu family", "model")),
        "instructions": [flag for flag in INTERESTING if flag in flags],
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "rustc": subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip(),
        "pins": pins(root),
    }


def pins(root: Path) -> dict[str, str]:
    lines = [line for name in ("parity", "benches/peers") for line in (root / name / "requirements.txt").read_text().splitlines()]
    return dict(line.split("==") for line in lines if "==" in line)


def busy_share(seconds: float) -> float:
    """Share of all processors' time spent on work during the next `seconds` (this process only sleeps)."""
    idle_before, total_before = processor_times()
    time.sleep(seconds)
    idle, total = processor_times()
    return 1 - (idle - idle_before) / max(1, total - total_before)


def processor_times() -> tuple[int, int]:
    times = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return times[3] + times[4], sum(times)
