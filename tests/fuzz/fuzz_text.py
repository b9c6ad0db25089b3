"""Sound tokenizers of every kind, and changes to tokenizers and chat templates."""

import json
from pathlib import Path
from random import Random
from typing import Any

import tokenizers
from fuzz_mutate import EDGES, NUMBER_EDGES, Gguf, _changed, raw, text
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def sentencepiece(lines: list[str]) -> tokenizers.Tokenizer:
    """As Llama 2: BPE with single bytes for what is unknown, and a space in front."""
    inner = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    inner.decoder = decoders.Sequence(steps)
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[*SPECIAL, *BYTES], show_progress=False)
    inner.train_from_iterator(lines, trainer)
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return inner


def unigram(lines: list[str]) -> tokenizers.Tokenizer:
    """As T5, with a regular expression."""
    inner = tokenizers.Tokenizer(models.Unigram())
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    inner.train_from_iterator(lines, trainer)
    return inner


def wordpiece(lines: list[str]) -> tokenizers.Tokenizer:
    """As BERT."""
    inner = tokenizers.Tokenizer(models.WordPiece(unk_token="<unk>"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.train_from_iterator(
        lines, trainers.WordPieceTrainer(vocab_size=60, special_tokens=SPECIAL, show_progress=False)
    )
    inner.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    return inner


def byte_level(lines: list[str]) -> tokenizers.Tokenizer:
    """As Llama 3, with a regular expression and a token that was added."""
    inner = tokenizers.Tokenizer(models.BPE())
    words = pre_tokenizers.Split(tokenizers.Regex(r"\s?\p{L}+|\p{N}{1,3}|\s+(?!\S)|[^\s\p{L}]+"), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        lines,
        trainers.BpeTrainer(vocab_size=280, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    inner.add_tokens([AddedToken("cat", normalized=True)])
    return inner


KINDS = {"sentencepiece": sentencepiece, "unigram": unigram, "wordpiece": wordpiece, "byte-level": byte_level}

# What rules are made of. A field takes a value that fits it, or any edge.
TYPES = (
    "Sequence Replace Prepend Strip StripAccents Lowercase NFC NFD NFKC NFKD Nmt Precompiled BertNormalizer ByteLevel "
    "Split Digits Metaspace Punctuation Whitespace WhitespaceSplit CharDelimiterSplit UnicodeScripts BertPreTokenizer "
    "FixedLength TemplateProcessing BertProcessing RobertaProcessing WordPiece ByteFallback Fuse CTC BPEDecoder BPE "
    "Unigram WordLevel"
).split()
PATTERNS = [
    {"String": "a"}, {"String": " "}, {"String": ""}, {"Regex": "(a+)+$"}, {"Regex": ""}, {"Regex": "("},
    {"Regex": "(?<=a)|(?=t)"}, {"Regex": "((((.{9}){9}){9}){9}){9}"}, {"Regex": "[^\\s]"}, {"Regex": "(.*)*\\1"},
]  # fmt: skip
FIELDS: dict[str, list[Any]] = {
    "pattern": PATTERNS,
    "content": ["aa", "", "a" * 1000, "▁", "t h e"],
    "behavior": ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"],
    "invert": [True, False],
    "prepend": ["a", "▁", ""],
    "replacement": ["▁", "aa"],
    "prepend_scheme": ["always", "first", "never"],
    "precompiled_charsmap": ["AAAA", "BAAAAP///38AAAA=", "", "AAAAAGFhYWE="],
    "length": [0, 1, 3],
    "delimiter": ["a", ""],
    "prefix": ["##", ""],
    "suffix": ["</w>", ""],
    "start": [0, 1, 2**63],
    "stop": [0, 1, 2**63],
    "left": [True],
    "right": [True],
    "cleanup": [True],
    "pad_token": ["<pad>"],
    "word_delimiter_token": ["|"],
    "sep": [["</s>", 2], ["x", 2**32]],
    "cls": [["<s>", 1], ["", 0]],
    "single": [[{"Sequence": {"id": "A", "type_id": 0}}], [{"SpecialToken": {"id": "x", "type_id": 0}}] * 3],
    "pair": [[{"Sequence": {"id": "B", "type_id": 1}}]],
    "special_tokens": [{"x": {"id": "x", "ids": [1] * 2000, "tokens": ["x"] * 2000}}, {}],
    "trim_offsets": [True],
    "add_prefix_space": [True, False],
    "use_regex": [True],
    "individual_digits": [True],
    "vocab": [{"a": 0}, {}, [["a", 0.0]], {"a": 2**32}, {"a": -1}, [["a", float("nan")]], [["", 1.0]]],
    "merges": [[["a", "a"]], ["a a"], []],
    "unk_token": ["a", "nothing"],
    "unk_id": [0, 5, 2**40],
    "dropout": [0.5, 2.0],
    "max_input_chars_per_word": [0, 100, 2**62],
    "continuing_subword_prefix": ["##", "a"],
    "end_of_word_suffix": ["</w>", "a"],
    "byte_fallback": [True],
    "ignore_merges": [True],
    "fuse_unk": [True],
}
LISTS = ("normalizers", "pretokenizers", "decoders", "processors")
PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "model")


def _rule(random: Random, depth: int = 0) -> Any:
    """A rule of any type with most fields that there are."""
    if random.random() < 0.05:
        return random.choice(EDGES)
    rule: dict[str, Any] = {"type": random.choice(TYPES[0:1] * 6 + TYPES)}
    if rule["type"] == "Sequence":
        inner = [_rule(random, depth + 1) for _ in range(random.choice([0, 1, 2, 3]) if depth < 3 else 0)]
        return rule | dict.fromkeys(LISTS, inner * (1 if depth else random.choice([1, 1, 40])))
    for name, values in FIELDS.items():
        if random.random() < 0.9:
            rule[name] = random.choice([*values, random.choice(EDGES)] if random.random() < 0.3 else values)
    return rule


def tokenizer(random: Random, data: bytes) -> bytes:
    """A tokenizer.json: its rules, its tokens, its values, or any bytes."""
    if random.random() < 0.1:
        return raw(random, data)
    whole = json.loads(data)
    for _ in range(random.choice([1, 1, 2, 3])):
        match random.randrange(4):
            case 0:
                whole[random.choice(PARTS)] = _rule(random)
            case 1:
                part = random.choice(list(whole))
                whole[part] = _changed(random, whole[part], tuple(FIELDS)) if whole[part] else _rule(random)
            case 2:
                model = whole["model"]
                if isinstance(model, dict) and model:
                    field = random.choice(list(model))
                    model[field] = random.choice([*FIELDS.get(field, [None]), random.choice(EDGES)])
            case 3:
                added = {"id": random.choice([0, 1, 5000, 2**32 - 1, *NUMBER_EDGES]), "content": random.choice(
                    ["", " ", "a", "The", "\0", "é", "long" * 9000, *SPECIAL])}  # fmt: skip
                flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
                token = added | {flag: random.random() < 0.5 for flag in flags}
                if isinstance(whole.get("added_tokens"), list):
                    whole["added_tokens"].append(token)
    return json.dumps(whole).encode("utf-8", "surrogatepass")


def tokenizer_config(random: Random, data: bytes) -> bytes:
    """A tokenizer_config.json."""
    extra = (
        "bos_token eos_token pad_token unk_token sep_token cls_token mask_token chat_template tokenizer_class "
        "added_tokens_decoder add_bos_token additional_special_tokens"
    )
    return text(random, data, tuple(extra.split()))


def merges(random: Random, data: bytes) -> bytes:
    """A merges.txt: lines changed, moved, doubled or left out, or any bytes."""
    if random.random() < 0.3:
        return raw(random, data)
    rows = data.split(b"\n")
    for _ in range(random.choice([1, 3, 20])):
        at = random.randrange(len(rows))
        word = random.choice([b"", b" ", b"a", b"a b c", b"\xff", b"th e", b"\xc4\xa0 t", b"#version: 9", b"x" * 9999])
        match random.randrange(4):
            case 0:
                rows[at] = word
            case 1:
                rows.insert(at, word)
            case 2 if len(rows) > 1:
                del rows[at]
            case 3:
                rows[at] = random.choice(rows)
    return b"\n".join(rows)


NUMBERS = ["0", "1", "-1", "9", "10**9", "99999", "2**40", "(9**9)", "1.5", "none", "true"]
VALUES = [
    *NUMBERS, "'a'", "'%s%99999999999d'", "''", "messages", "messages[0]", "messages[0].content", "m", "m.role", "[]",
    "{}", "tools", "eos_token", "missing", "namespace(x=1)", "range(9)", "range(99999)", "loop", "self", "lipsum",
    "cycler('a','b')", "joiner()", "dict(a=1)", "raise_exception", "strftime_now('%Y' * 99)", "lipsum(n=10**6)",
]  # fmt: skip
FILTERS = (
    "abs attr('__class__') batch(10**9) capitalize center(10**10) default(1) dictsort escape filesizeformat first "
    "float forceescape format(1) groupby('x') indent(10**9) int items join last length list lower map('upper') max "
    "min pprint random reject rejectattr('x') replace('a','aaaaaaaaaa') reverse round(99) safe select "
    "selectattr('role') slice(10**9) sort string striptags sum title tojson tojson(indent=10**10) trim truncate(0) "
    "unique upper urlencode urlize wordcount wordwrap(1) xmlattr"
).split()
METHODS = (
    "format(1) ljust(10**10) zfill(10**10) join('abc') split('') replace('','a'*999) encode() items() get(1) upper() "
    "append(1) pop() __class__ __init__.__globals__ format_map({}) translate({}) expandtabs(10**9) count('') "
    "startswith(1) strip() splitlines()"
).split()


def _expression(random: Random, depth: int = 0) -> str:
    value = random.choice(VALUES)
    if depth > 3:
        return value
    match random.randrange(7):
        case 0:
            return f"({_expression(random, depth + 1)} | {random.choice(FILTERS)})"
        case 1:
            return f"({_expression(random, depth + 1)}).{random.choice(METHODS)}"
        case 2:
            operator = random.choice(["+", "-", "*", "/", "//", "%", "**", "~", "in", "==", "<", "and", "or", "is"])
            return f"({_expression(random, depth + 1)} {operator} {_expression(random, depth + 1)})"
        case 3:
            return f"{value}[{_expression(random, depth + 1)}]"
        case 4:
            return f"({value} if {_expression(random, depth + 1)} else {value})"
    return value


def _block(random: Random, depth: int = 0) -> str:
    inner = _block(random, depth + 1) if depth < 4 and random.random() < 0.8 else "x"
    expression = _expression(random)
    match random.randrange(9):
        case 0:
            return f"{{% for m in {expression} %}}{inner}{{% endfor %}}"
        case 1:
            return f"{{% if {expression} %}}{inner}{{% else %}}y{{% endif %}}"
        case 2:
            return f"{{% set m = {expression} %}}{inner}"
        case 3:
            return f"{{% macro f(m) %}}{inner}{{{{ f(m) }}}}{{% endmacro %}}{{{{ f({expression}) }}}}"
        case 4:
            return f"{{% set m %}}{inner * 9}{{% endset %}}{{{{ m * 9 }}}}"
        case 5:
            return f"{{% generation %}}{inner}{{% endgeneration %}}"
        case 6:
            grow = f"{{% for i in range(99) %}}{{% set ns.s = ns.s ~ {expression} %}}{{% endfor %}}"
            return f"{{% set ns = namespace(s='ab') %}}{grow}"
        case 7:
            word = random.choice(["break", "include", "import", "extends", "raw", "filter upper", "do"])
            return f"{inner}{{% {word} %}}"
    return f"{inner}{{{{ {expression} }}}}"


def template(random: Random, data: bytes) -> bytes:
    """A chat template: another program, or the same one with changes."""
    if random.random() < 0.2:
        return raw(random, data)
    blocks = [_block(random) for _ in range(random.choice([1, 1, 2, 4]))]
    if random.random() < 0.3:
        blocks.insert(random.randrange(len(blocks) + 1), data.decode())
    return "".join(blocks).encode()


def gguf_tokenizer(random: Random, data: bytes) -> bytes:
    """The tokenizer in a GGUF file: its lists, its kind and its numbers."""
    file = Gguf.of(data)
    ours = [pair for pair in file.pairs if pair[0].startswith(b"tokenizer.")]
    for _ in range(random.choice([1, 1, 2, 4])):
        pair = random.choice(ours)
        match random.randrange(5):
            case 0:
                pair[1:] = random.choice(ours)[1:]
            case 1:
                pair[2] = raw(random, pair[2])
            case 2:
                pair[0] = random.choice(ours)[0]
            case 3 if pair[1] == 8:
                word = random.choice(["llama", "gpt2", "qwen2", "llama-bpe", "smollm", "", "x", "bert", "t5"]).encode()
                pair[2] = len(word).to_bytes(8, "little") + word
            case 4 if pair in file.pairs:
                file.pairs.remove(pair)
    return file.content()


def write_lists(folder: Path, inner: tokenizers.Tokenizer) -> None:
    """GPT-2's files instead of a tokenizer.json."""
    inner.model.save(str(folder))
    (folder / "tokenizer.json").unlink()
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "</s>", "add_bos_token": False}
    added = {str(id): {"content": token, "special": True} for id, token in enumerate(SPECIAL)}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"added_tokens_decoder": added}))
