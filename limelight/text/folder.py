"""The tokenizer files of a Hugging Face folder, both ways."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from limelight import given
from limelight.errors import TextError
from limelight.text.foreign import guarded, tried
from limelight.text.gguf import LONGEST_VOCABULARY, byte_level_bpe, surround
from limelight.text.parts import Parts

_LARGEST_FILE = 256 * 2**20  # bytes
_MOST_IDS = 2**32  # the library's ids are that wide
_CONFIG = "tokenizer_config.json"
# Tokenizer classes that vocab.json and merges.txt describe completely, and how each cuts words.
_BYTE_LEVEL = {None: "gpt-2", "GPT2Tokenizer": "gpt-2", "GPT2TokenizerFast": "gpt-2", "Qwen2Tokenizer": "qwen2"}


def read(folder: Path) -> Parts:
    """The tokenizer in `folder`. Raises TextError if there is none, or naming the file that is damaged."""
    config = _json(folder / "special_tokens_map.json") | _json(folder / _CONFIG)
    named = {name: _spelling(config.get(f"{name}_token")) for name in ("bos", "eos", "pad", "unk")}
    if (folder / "tokenizer.json").is_file():
        inner = _definition(folder / "tokenizer.json")
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        inner = _byte_level(folder, config, named)
    elif (folder / "tokenizer.model").is_file():
        raise TextError(
            f"{folder} has its tokenizer only as a SentencePiece file; make a tokenizer.json of it with transformers: "
            f"AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
        )
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
