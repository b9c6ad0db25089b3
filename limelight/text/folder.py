"""The tokenizer files of a Hugging Face folder, both ways."""

import ast
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from limelight import given
from limelight.errors import TextError
from limelight.text import sentencepiece
from limelight.text.foreign import guarded, tried
from limelight.text.kinds import LONGEST_VOCABULARY, byte_level_bpe, surround, word_pieces, world
from limelight.text.parts import Parts
from limelight.text.sentencepiece import vocabulary

_LARGEST_FILE = 256 * 2**20  # bytes
_MOST_IDS = 2**32  # the library's ids are that wide
_CONFIG = "tokenizer_config.json"
_END_OF_WORLD = "<|rwkv_tokenizer_end_of_text|>"  # which its vocabulary does not list; number 0
_LONGEST_LINE = 2000  # characters of a vocabulary's line
_FAIRSEQ = "sentencepiece.bpe.model"
# The languages of M2M-100 (Fan et al., 2021) and of Facebook's entry to WMT 2021, in the order of their tokens.
M2M_100 = {
    "m2m100": "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr "
    "ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps "
    "pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu",
    "wmt21": "en ha is ja cs ru zh de",
}
# Tokenizer classes that vocab.json and merges.txt describe completely, and how each cuts words.
_BYTE_LEVEL = {None: "gpt-2", "GPT2Tokenizer": "gpt-2", "Qwen2Tokenizer": "qwen2"}

_BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
# Tokenizer classes that vocab.txt describes completely: pieces of words, and the patterns of those that cut a language
# of chemistry, SMILES (Schwaller et al., 2018).
_WORD_PIECES = (None, "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")
_CUT = {
    "SmilesTokenizer": r"\%\([0-9]{3}\)|\[[^\]]+\]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\||\(|\)|\.|=|#|-|\+|\\|/|:|~|@|\?|"
    r">>?|\*|\$|\%[0-9]{2}|[0-9]"
}


def read(folder: Path, *, source: bool = False) -> Parts:
    """The tokenizer in `folder`; `source`: that of the text which a translator reads, where its files lie there, too.

    Raises TextError if there is none, or naming the file that is damaged.
    """
    config = _json(folder / "special_tokens_map.json") | _json(folder / _CONFIG)
    named = {name: _spelling(config.get(f"{name}_token")) for name in ("bos", "eos", "pad", "unk")}
    if (folder / "tokenizer.json").is_file() and not source:
        inner = _definition(folder / "tokenizer.json")
        _put_language(inner, config, named["eos"])
    elif has_source(folder):
        inner = _marian(folder, config, named, source)
    elif (folder / "vocab.txt").is_file():
        config = {f"{name}_token": token for name, token in _BERT.items()} | config
        named |= {name: _spelling(config[f"{name}_token"]) for name in ("pad", "unk")}
        inner = _vocabulary(folder, config)
    elif (folder / "vocab.json").is_file() and (folder / _FAIRSEQ).is_file():
        inner = _m2m_100(folder, config, named)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        inner = _byte_level(folder, config, named)
    elif any((folder / name).is_file() for name in ("tokenizer.model", "spiece.model", _FAIRSEQ)):
        raise TextError(
            f"{folder} has its tokenizer only as a SentencePiece file; make a tokenizer.json of it with transformers: "
            f"AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
    elif listed := next(folder.glob("rwkv_vocab*.txt"), None):
        inner = _world(listed)
        named |= dict.fromkeys(("bos", "eos", "pad"), _END_OF_WORLD)
    else:
        raise TextError(f"{folder} has no tokenizer; put the model's tokenizer.json there")
    others = {name: token for name in ("sep", "cls", "mask") if (token := _spelling(config.get(f"{name}_token")))}
    return Parts(
        inner,
        **named,
        ends=_ends(folder),
        template=_template(folder, config),
        what=f"the tokenizer in {folder}",
        others=others,
    )


def has_source(folder: Path) -> bool:
    """Whether a translator's folder holds two SentencePiece models, as Marian's do, and no tokenizer.json."""
    there = [(folder / name).is_file() for name in ("source.spm", "target.spm", "vocab.json")]
    return all(there) and not (folder / "tokenizer.json").is_file()


def read_marian(folder: Path, *, source: bool = False) -> Parts:
    """The tokenizer beside a model file of Marian's own: a SentencePiece model for both sides, or one for each, whose
    pieces have the numbers of their places or those of a ``vocab.yml``.

    Raises TextError if there is none, or naming the file that is damaged.
    """
    found = sorted(folder.glob("*.spm"))
    sides = [path for path in found if path.name.startswith(("source", "src") if source else ("target", "trg"))]
    chosen = sides if len(found) == 2 else found
    if len(chosen) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise TextError(
            f"{folder} has no SentencePiece model for both sides, nor one for each that is called source… and target… "
            f"or src… and trg…; there is {there}"
        )
    lists = sorted(folder.glob("*.yml")) if len(found) == 2 else []
    lists = [path for path in lists if "vocab" in path.name]
    ids = _listed(lists[0]) if len(lists) == 1 else None
    model = sentencepiece.read(chosen[0])
    inner = sentencepiece.build(model) if ids is None else _pieces(model, ids)
    with guarded(f"{chosen[0]} is damaged"):
        surround(inner, None, "</s>")
    return Parts(inner, eos="</s>", unk="<unk>", what=f"the tokenizer in {folder}")


def _listed(path: Path) -> dict[str, int]:
    """The pieces and numbers of a ``vocab.yml``, one pair a line."""
    ids: dict[str, Any] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        piece, _, id = line.rpartition(":")
        try:
            quoted = json.loads(piece) if piece.startswith('"') else piece.strip("'").replace("''", "'")
            ids[quoted] = int(id)
        except (ValueError, TypeError):
            raise TextError(f"{path} is damaged: line {number} is no piece and its number") from None
    return vocabulary(path, ids)


def write(folder: Path, definition: str, parts: Parts) -> None:
    """Writes tokenizer.json and tokenizer_config.json; each file is there whole or not at all."""
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "bos_token": parts.bos,
        "eos_token": parts.eos,
        "pad_token": parts.pad,
        "unk_token": parts.unk,
        **{f"{name}_token": token for name, token in parts.others.items()},
        "chat_template": parts.template,
    }
    config = {key: value for key, value in config.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("tokenizer.json", definition), (_CONFIG, json.dumps(config, ensure_ascii=False, indent=2))):
        beside = folder / f".{name}.{os.getpid()}.part"
        beside.write_text(text, encoding="utf-8")
        beside.replace(folder / name)


def _definition(path: Path) -> tokenizers.Tokenizer:
    # As read here, and not as the file stands: of a key that is there twice the library might take the other one.
    definition = _json(path) | {"truncation": None, "padding": None}
    if isinstance(model := definition.get("model"), dict):
        _numbered(path, model.get("vocab"))
        _joined(path, model)
    tried(definition, str(path))
    with guarded(f"{path} is damaged or of a newer kind"):
        return tokenizers.Tokenizer.from_str(json.dumps(definition))


def _byte_level(folder: Path, config: Mapping[str, Any], named: Mapping[str, str | None]) -> tokenizers.Tokenizer:
    """GPT-2's own files. The special tokens that they leave out stand in tokenizer_config.json."""
    kind = config.get("tokenizer_class")
    kind = kind.removesuffix("Fast") if isinstance(kind, str) else kind
    if not isinstance(kind, str | None) or kind not in _BYTE_LEVEL:
        raise TextError(
            f"{folder} has no tokenizer.json, and limelight cannot build {given.shown(kind)} from vocab.json alone"
        )
    lines = _text(folder / "merges.txt").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    vocab = _json(folder / "vocab.json")
    _numbered(folder / "vocab.json", vocab)
    with guarded(f"vocab.json, merges.txt and {_CONFIG} in {folder} do not fit together"):
        inner = byte_level_bpe(vocab, merges, _BYTE_LEVEL[kind])  # type: ignore[arg-type]
        added = config.get("added_tokens_decoder") or {}
        for _, token in sorted(added.items(), key=lambda entry: int(entry[0])):
            flags = {name: bool(token.get(name)) for name in ("lstrip", "rstrip", "single_word", "normalized")}
            add = inner.add_special_tokens if token.get("special") else inner.add_tokens
            add([AddedToken(token["content"], special=bool(token.get("special")), **flags)])
        surround(inner, named["bos"] if config.get("add_bos_token") else None, None)
    return inner


def _vocabulary(folder: Path, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """BERT's own file, one token a line: pieces of words, or whole ones for a language that a pattern cuts."""
    kind = config.get("tokenizer_class")
    kind = kind.removesuffix("Fast") if isinstance(kind, str) else kind
    if kind not in (*_WORD_PIECES, *_CUT):
        raise TextError(
            f"{folder} has no tokenizer.json, and limelight cannot build {given.shown(kind)} from vocab.txt alone"
        )
    path = folder / "vocab.txt"
    lines = _text(path).removesuffix("\n").split("\n")
    if len(lines) > LONGEST_VOCABULARY:
        raise TextError(f"{path} is damaged: it has {len(lines):,} lines; at most {LONGEST_VOCABULARY:,} are read")
    ids = {token: id for id, token in enumerate(lines)}
    special = [str(_spelling(config[f"{name}_token"])) for name in _BERT]
    if missing := [token for token in special if token not in ids]:
        raise TextError(f"{path} lacks the special token {given.shown(missing[0])}")
    unk, sep, _, cls, _ = special
    with guarded(f"{path} is damaged"):
        if kind in _CUT:
            inner = tokenizers.Tokenizer(models.WordLevel(ids, unk_token=unk))
            # What the pattern does not match is left out.
            inner.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(_CUT[kind]), "removed", invert=True)
            inner.decoder = decoders.Fuse()
        else:
            lower, accents = config.get("do_lower_case", True), config.get("strip_accents")
            chinese = bool(config.get("tokenize_chinese_chars", True))
            inner = word_pieces(ids, unk, lower=bool(lower), chinese=chinese, accents=accents)
        inner.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
        surround(inner, cls, sep)
    return inner


def _world(path: Path) -> tokenizers.Tokenizer:
    """RWKV's World tokenizer: lines of a number, a token as Python writes it, and how many bytes it has."""
    tokens: dict[bytes, int] = {}
    for number, line in enumerate(_text(path).removesuffix("\n").split("\n"), 1):
        id, _, rest = line.partition(" ")
        spelled, _, size = rest.rpartition(" ")
        try:
            token = ast.literal_eval(spelled[:_LONGEST_LINE])
            token = token.encode() if isinstance(token, str) else token
            if not isinstance(token, bytes) or len(token) != int(size):
                raise ValueError
            tokens[token] = int(id)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise TextError(f"{path} is damaged: line {number:,} is no token and its length") from None
    inner = world(tokens, {_END_OF_WORLD: 0}, str(path))
    inner.add_special_tokens([AddedToken(_END_OF_WORLD, normalized=False, special=True)])
    return inner


def _marian(
    folder: Path, config: Mapping[str, Any], named: dict[str, str | None], source: bool
) -> tokenizers.Tokenizer:
    """One side of a Marian model: a SentencePiece model, and a vocabulary that both sides share or each has."""
    named |= {name: named[name] or token for name, token in (("eos", "</s>"), ("unk", "<unk>"), ("pad", "<pad>"))}
    own = "target_vocab.json" if config.get("separate_vocabs") and not source else "vocab.json"
    ids = vocabulary(folder / own, _json(folder / own))
    inner = _pieces(sentencepiece.read(folder / ("source.spm" if source else "target.spm")), ids)
    codes = [token for token in ids if token.startswith(">>") and token.endswith("<<")]
    inner.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in codes])
    with guarded(f"{own} in {folder} is damaged"):
        surround(inner, None, named["eos"])
    return inner


def _m2m_100(folder: Path, config: Mapping[str, Any], named: dict[str, str | None]) -> tokenizers.Tokenizer:
    """M2M-100's: the codes of its languages stand behind the vocabulary."""
    defaults = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>"}
    named |= {name: named[name] or token for name, token in defaults.items()}
    ids = vocabulary(folder / "vocab.json", _json(folder / "vocab.json"))
    known = config.get("language_codes") or "m2m100"
    if known not in M2M_100:
        raise TextError(
            f"{folder / _CONFIG}: language_codes is {given.shown(known)}; limelight knows {' and '.join(M2M_100)}"
        )
    codes = [code for language in M2M_100[known].split() if (code := f"__{language}__") not in ids]
    inner = _pieces(sentencepiece.read(folder / _FAIRSEQ), {**ids, **{c: len(ids) + n for n, c in enumerate(codes)}})
    inner.add_special_tokens([AddedToken(code, normalized=False, special=True) for code in codes])
    _put_language(inner, {"tokenizer_class": "M2M100Tokenizer", **config}, named["eos"])
    return inner


def _pieces(model: sentencepiece.Pieces, ids: Mapping[str, int]) -> tokenizers.Tokenizer:
    """A SentencePiece model over a vocabulary of the translator's own.

    What it cuts and the vocabulary lacks becomes a special token behind it: the tokenizer then reads it as unknown.
    """
    strange = sentencepiece.lacking(model, ids)
    inner = sentencepiece.build(model, {**ids, **{piece: len(ids) + n for n, piece in enumerate(strange)}})
    inner.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in strange])
    return inner


_FIRST = ("NllbTokenizer", "MBart50Tokenizer", "M2M100Tokenizer")
_LAST = ("MBartTokenizer",)
_SPOKEN = {"NllbTokenizer": "eng_Latn", "M2M100Tokenizer": "en"}


def _put_language(inner: tokenizers.Tokenizer, config: Mapping[str, Any], eos: str | None) -> None:
    """Puts the code of the source's language where the model's class puts it, whatever its tokenizer.json says: files
    written by older versions say it otherwise."""
    kind = str(config.get("tokenizer_class")).removesuffix("Fast")
    if kind not in (*_FIRST, *_LAST) or eos is None:
        return
    spoken = config.get("src_lang") or _SPOKEN.get(kind, "en_XX")
    code = f"__{spoken}__" if kind == "M2M100Tokenizer" else str(spoken)
    if inner.token_to_id(code) is None or inner.token_to_id(eos) is None:
        return
    last = kind in _LAST or bool(config.get("legacy_behaviour"))
    around = ["$A", eos, code] if last else [code, "$A", eos]
    special = [(token, inner.token_to_id(token)) for token in (code, eos)]
    inner.post_processor = processors.TemplateProcessing(single=around, special_tokens=special)


def _numbered(path: Path, vocab: Any) -> None:
    """Raises TextError for a vocabulary whose tokens have no numbers of their own, or so high ones that the library
    would go through all below them."""
    if not isinstance(vocab, dict):
        return  # a list, as Unigram's; or the library says what is wrong
    owners: dict[int, str] = {}
    for token, id in vocab.items():
        if type(id) is not int or not 0 <= id < LONGEST_VOCABULARY:
            raise TextError(f"{path} is damaged: the number of the token {given.shown(token)} is {given.shown(id)}")
        if owners.setdefault(id, token) != token:
            both = f"{given.shown(owners[id])} and {given.shown(token)}"
            raise TextError(f"{path} is damaged: the tokens {both} have the same number, {id}")


def _joined(path: Path, model: Mapping[str, Any]) -> None:
    """Raises TextError for a BPE of marked pieces whose merges lack the mark: the library cuts it off unseen, within a
    character perhaps, and ends the process."""
    mark, merges = model.get("continuing_subword_prefix"), model.get("merges")
    if not isinstance(mark, str) or not isinstance(merges, list):
        return
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        right = pair[-1] if isinstance(pair, list) and pair else None
        if not isinstance(right, str) or not right.startswith(mark):
            raise TextError(f"{path} is damaged: the merge {given.shown(merge)} lacks the mark {given.shown(mark)}")


def _ends(folder: Path) -> tuple[int, ...]:
    """The end ids of generation_config.json or else config.json, which may be one number or a list."""
    for name in ("generation_config.json", "config.json"):
        ends = _json(folder / name).get("eos_token_id")
        ends = ends if isinstance(ends, list) else [ends]
        if all(type(end) is int and 0 <= end < _MOST_IDS for end in ends):
            return tuple(ends)
    return ()


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    if (folder / "chat_template.jinja").is_file():
        return _text(folder / "chat_template.jinja")
    template = config.get("chat_template")
    if isinstance(template, list):  # several templates, each with a name
        named = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
        template = named[-1].get("template") if named else None
    return template if isinstance(template, str) else None


def _spelling(token: Any) -> str | None:
    """A special token is written as its spelling, or as an object with flags."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError) as problem:
        raise TextError(f"{path} is damaged: it is not valid JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise TextError(f"{path} holds a {type(value).__name__} where an object belongs")
    return value


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise TextError(f"{path} has {path.stat().st_size:,} bytes; at most {_LARGEST_FILE:,} are read")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise TextError(f"{path} cannot be read: {problem}") from problem
