"""Writes prompts.json, the prompts of the GRPO case: chat template applied, ids by the published tokenizer.

    python make_prompts.py      (in PyTorch's environment)
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "parity"))

import smollm2

QUESTIONS = [
    "A baker fills 6 trays with 12 rolls each and sells 47 of them before noon. How many are left?",
    "Mia reads 18 pages a day. Her book has 234 pages. After how many days has she read it all?",
    "A bus carries 52 people. At one stop 17 get off and 9 get on. How many people ride on?",
    "Three friends share 144 stickers equally, and one of them loses 5. How many does that one keep?",
    "A farmer has 15 hens. Each lays 4 eggs a week. How many eggs are there after 3 weeks?",
    "Tickets cost 8 dollars for adults and 5 for children. What do 2 adults and 7 children pay?",
    "A tank holds 300 litres and loses 12 litres an hour. How much is in it after 9 hours?",
    "Sam saves 35 dollars a month for 8 months and then buys a bicycle for 199. What remains?",
]


def main() -> None:
    tokenizer = smollm2.load_tokenizer()
    prompts = []
    for question in QUESTIONS:
        text = tokenizer.apply_chat_template([{"role": "user", "content": f"{question} Show each step, then give the answer."}], tokenize=False, add_generation_prompt=True)
        prompts.append({"prompt": text, "ids": tokenizer(text)["input_ids"]})
    lines = ",\n".join(json.dumps(prompt) for prompt in prompts)
    (HERE / "prompts.json").write_text('{"prompts": [\n' + lines + "\n]}\n")
    print("tokens:", [len(p["ids"]) for p in prompts])


if __name__ == "__main__":
    main()
