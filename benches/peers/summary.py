"""Medians, ranges and ratios of the recorded rounds, as JSON and as a page."""

import json
import time
from pathlib import Path
from statistics import median

from cases import Bar, Case


def rate(record: dict) -> float:
    """Tokens a second, or GFLOP/s where nothing is a token."""
    return record["gflops"] if "gflops" in record else record["tokens"] / record["seconds"]


def one_line(record: dict) -> str:
    if "error" in record:
        return f"{record['side']:<18} FAILED {record['error']}"
    unit = "GFLOP/s" if "gflops" in record else "tok/s"
    shape = " x ".join(map(str, record["shape"])) if "shape" in record else ""
    return f"{record['side']:<18} {rate(record):9.1f} {unit} {record['peak_rss_bytes'] / 1e9:6.2f} GB {shape}"


def summarise(cases: list[Case], records: list[dict]) -> list[dict]:
    """One row for each case (and shape) and side: median and range of the rate, of the memory, of whole runs."""
    rows = []
    for case in cases:
        mine = [r for r in records if r["case"] == case.name and "error" not in r]
        for shape in sorted({tuple(r.get("shape", ())) for r in mine}):
            for side in case.sides:
                rounds = [r for r in mine if r["side"] == side.name and tuple(r.get("shape", ())) == shape]
                if rounds:
                    rows.append(row(case, side.name, shape, rounds))
    return rows


def row(case: Case, side: str, shape: tuple, rounds: list[dict]) -> dict:
    rates = [rate(r) for r in rounds]
    whole = [r["tokens"] / (r["seconds"] + r["prefill_seconds"]) for r in rounds if "prefill_seconds" in r]
    return {
        "case": case.name,
        "shape": list(shape),
        "side": side,
        "rounds": len(rounds),
        "rate": median(rates),
        "least": min(rates),
        "most": max(rates),
        "with_prefill": median(whole) if whole else None,
        "seconds": median(r["seconds"] for r in rounds),
        "tokens": rounds[0]["tokens"],
        "prompt_tokens": rounds[0].get("prompt_tokens"),
        "peak_rss_bytes": median(r["peak_rss_bytes"] for r in rounds),
    }


def verdicts(case: Case, rows: list[dict]) -> list[str]:
    """What became of the bars of a case."""
    sides = {r["side"]: r for r in rows if r["case"] == case.name}
    lines = []
    for bar in case.bars:
        peer = against(bar, sides, rows)
        if "lyceum" in sides and peer is not None:
            lines.append(verdict(bar, sides["lyceum"], peer))
    return lines


def against(bar: Bar, sides: dict[str, dict], rows: list[dict]) -> dict | None:
    """The row that a bar compares with; None when it was not measured."""
    if bar.peer == "own train":
        return next((r for r in rows if r["case"] == "train" and r["side"] == "lyceum"), None)
    if bar.peer == "fastest":
        return max((r for name, r in sides.items() if name != "lyceum"), key=lambda r: r["rate"], default=None)
    return sides.get(bar.peer)


def verdict(bar: Bar, ours: dict, theirs: dict) -> str:
    speed = ours["rate"] / theirs["rate"]
    name = "its own training of all parameters" if bar.peer == "own train" else theirs["side"]
    text = f"{speed:.2f}x {name} (floor {bar.floor}, {'reached' if speed >= bar.floor else 'MISSED'}"
    if bar.goal is not None:
        text += f"; goal {bar.goal}, {'reached' if speed >= bar.goal else 'not reached'}"
    text += ")"
    if bar.memory is not None:
        memory = ours["peak_rss_bytes"] / theirs["peak_rss_bytes"]
        text += f"; memory {memory:.2f}x (at most {bar.memory}, {'kept' if memory <= bar.memory else 'EXCEEDED'})"
    return text


def write(folder: Path, about: dict, cases: list[Case], records: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = summarise(cases, records)
    name = "peers-avx2-" if about["avx2"] else "peers-"
    out = folder / (name + time.strftime("%Y%m%d-%H%M", time.gmtime()) + ".json")
    lines = ",\n  ".join(json.dumps(r) for r in records)
    document = json.dumps({"about": about, "summary": rows}, indent=1)
    out.write_text(document[:-2] + ',\n "rounds": [\n  ' + lines + "\n ]\n}\n")
    out.with_suffix(".md").write_text(page(about, cases, rows, records))
    return out


def page(about: dict, cases: list[Case], rows: list[dict], records: list[dict]) -> str:
    text = [
        f"# Lyceum and its peers{', all held to AVX2 + FMA' if about['avx2'] else ''}",
        "",
        f"{about['date']}, commit {about['commit'][:12]}{' with changes' if 'changes' in about['commit'] else ''}: `{about['command']}`",
        "",
        f"{about['processor']} (family/model {about['family_model']}; {', '.join(about['instructions'])}), {about['cores']} cores, "
        f"{about['threads']} threads a side, {about['memory_bytes'] / 2**30:.0f} GiB; {about['rustc']}; "
        + ", ".join(f"{name} {version}" for name, version in about["pins"].items())
        + ". Rounds in turns, each a fresh process after a warm-up; median (least - most).",
    ]
    for case in cases:
        mine = [r for r in rows if r["case"] == case.name]
        if mine:
            text += ["", f"## {case.title}", "", *table(mine), *(f"\n{line}" for line in verdicts(case, rows))]
    failed = [r for r in records if "error" in r]
    if failed:
        text += ["", "## Failed rounds", "", *(f"- {r['case']}, {r['side']}: {r['error']}" for r in failed)]
    busy = [r["load_before"] for r in records if r["load_before"] > 0.3]
    if busy:
        text += ["", f"The machine was not quiet: before {len(busy)} of {len(records)} rounds other work took up to {max(busy):.0%} of it."]
    return "\n".join(text) + "\n"


def table(rows: list[dict]) -> list[str]:
    gemm, decode = bool(rows[0]["shape"]), rows[0]["with_prefill"] is not None
    unit = "GFLOP/s" if gemm else "tok/s"
    head = [*(["shape"] if gemm else []), "", f"{unit}", *(["with prefill"] if decode else []), "s", "tokens", "peak GB", "n", "lyceum over it"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in rows:
        ours = next((o for o in rows if o["side"] == "lyceum" and o["shape"] == r["shape"]), None)
        ratio = f"{ours['rate'] / r['rate']:.2f}x, memory {ours['peak_rss_bytes'] / r['peak_rss_bytes']:.2f}x" if ours and ours is not r else ""
        tokens = str(r["tokens"]) + (f" + {r['prompt_tokens']} of prompts" if r["prompt_tokens"] else "")
        cells = [
            *(["x".join(map(str, r["shape"]))] if gemm else []),
            r["side"],
            f"{r['rate']:.1f} ({r['least']:.1f} - {r['most']:.1f})",
            *([f"{r['with_prefill']:.1f}"] if decode else []),
            f"{r['seconds']:.4g}",
            tokens,
            f"{r['peak_rss_bytes'] / 1e9:.2f}",
            str(r["rounds"]),
            ratio,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
