"""A reward for Lyceum: the right final number, told in few words. JSON lines in, JSON lines out."""
import json
import re
import sys

for line in sys.stdin:
    asked = json.loads(line)
    numbers = re.findall(r"-?\d+(?:\.\d+)?", asked["completion"].replace(",", ""))
    try:
        right = bool(numbers) and float(numbers[-1]) == float(asked["answer"])
    except (TypeError, ValueError):  # a row without a gold answer, or with one that is no number
        right = False
    short = max(0.0, 1.0 - len(asked["completion"].split()) / 60)
    parts = {"right": float(right), "short": short}
    print(json.dumps({"id": asked["id"], "reward": right * (0.8 + 0.2 * short), "components": parts}))
