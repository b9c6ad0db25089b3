"""Text to tokens and back, equal to the reference tokenizer of the model, with exact places in the text."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import tokenizers

from limelight import given
from limelight.errors import RequestError, TextError
from limelight.text import chat, folder, gguf
from limelight.text.foreign import guarded
from limelight.text.kinds import byte_letters
from limelight.text.parts import Parts

# Tokens by which chat and base models of the known families end a turn or a text. A model's files often name only one
# of the two; stopping at either is what every other runtime does. They count only where the model has them as special.
_ENDS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
)
_MASKS = ("[MASK]", "<mask>")
_SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "</s>")
_BYTES = {letter: byte for byte, letter in enumerate(byte_letters())}
"""The letters by which vocabularies of the kind of GPT-2's write bytes."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """Token ids, and for each the characters `[start, end)` of the text that it stands for."""

    ids: list[int]
    offsets: list[tuple[int, int]]


@final
class Tokenizer:
    """A model's tokenizer with its special tokens and its chat template.

    vocab        number of tokens, special ones included
    bos, pad     ids, or None where the model has no such token
    eos          every id that ends a text or a turn
    controls     ids of all special tokens: they steer the model and are never part of a text
    prefix       ids that the model expects in front of every document, such as a bos
    suffix       ids that it expects behind every document, such as BERT's [SEP]
    between      ids that it expects between two texts that are read as one
    second       the type of the tokens of the second of two such texts
    separator    the model's own mark between documents; stands in front of a text that is looked at
    byte_pieces  ids of single bytes ("<0xE2>"), by which SentencePiece writes unknown characters
    byte_level   whether a text is the bytes of its tokens, one behind the other, as with GPT-2's kind of vocabulary
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._inner = parts.inner
        self._lock = threading.Lock()  # guards the switches of the inner tokenizer
        self._spelled: dict[int, str] = {}  # of the tokens that were asked for: whoever looks asks for thousands
        self._written: dict[int, bytes] = {}  # the same
        with self._guarded():
            for text in (parts.template or "", *parts.others.values()):
                text.encode()  # half a surrogate pair would be found when it is used or saved
            self._inner.no_padding()
            self._inner.no_truncation()
            _mark_special(self._inner, (parts.bos, parts.eos, parts.pad, parts.unk))
            added = self._inner.get_added_tokens_decoder()
            self._special = {token.content: id for id, token in added.items() if token.special}

            self.vocab: int = self._inner.get_vocab_size()
            self.controls: frozenset[int] = frozenset(self._special.values())
            self.bos: int | None = self._find(parts.bos)
            self.pad: int | None = self._find(parts.pad)
            self._unk = self._find(parts.unk)
            self.mask: int | None = next((self._special[name] for name in _MASKS if name in self._special), None)
            eos = self._find(parts.eos)
            named = (self._special[end] for end in _ENDS if end in self._special)
            self.eos: frozenset[int] = frozenset((*(() if eos is None else (eos,)), *parts.ends, *named))

            sample = self._inner.encode("ac")  # a word, and an atom for who reads chemistry alone
            body = [at for at, added in enumerate(sample.special_tokens_mask) if not added]
            start, end = (body[0], body[-1] + 1) if body else (len(sample.ids), len(sample.ids))
            self.prefix: tuple[int, ...] = tuple(sample.ids[:start])
            self.suffix: tuple[int, ...] = tuple(sample.ids[end:])
            pair = self._inner.encode("a", "b")
            ends, begins = ([at for at, of in enumerate(pair.sequence_ids) if of == side] for side in (0, 1))
            apart = bool(ends and begins)
            self.between: tuple[int, ...] = tuple(pair.ids[ends[-1] + 1 : begins[0]]) if apart else ()
            self.second: int = pair.type_ids[begins[0]] if apart else 0
            # From here on the prefix and suffix are the caller's to join; a post-processor would only trim the offsets.
            self._around = self._inner.post_processor
            self._inner.post_processor = None

            spelled = (self._inner.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
            self.byte_pieces: frozenset[int] = frozenset(id for id in spelled if id is not None)
            self.byte_level: bool = isinstance(self._inner.decoder, tokenizers.decoders.ByteLevel)

    @staticmethod
    def from_folder(path: str | Path, *, source: bool = False) -> "Tokenizer":
        """The tokenizer of a Hugging Face folder; `source`: that of the text which its translator reads, where the
        folder has two. Raises TextError for a missing or damaged one."""
        return Tokenizer(folder.read(given.path("path", path), source=given.flag("source", source)))

    @staticmethod
    def from_marian(path: str | Path, *, source: bool = False) -> "Tokenizer":
        """One of the two tokenizers beside a file of Marian's own. Raises TextError for missing or damaged ones."""
        return Tokenizer(folder.read_marian(given.path("path", path), source=given.flag("source", source)))

    @staticmethod
    def from_gguf(metadata: Mapping[str, Any]) -> "Tokenizer":
        """The tokenizer that a GGUF file's metadata describes. Raises TextError for one we cannot rebuild."""
        return Tokenizer(gguf.rebuild(given.mapping("metadata", metadata, "a file's keys")))

    @property
    def separator(self) -> int:
        """The token that the model puts between documents. Raises TextError if it has none.

        The first token of `prefix` where the model uses one, else the token named as an end of text, else bos, else
        an eos.
        """
        if self.prefix:
            return self.prefix[0]
        named = [self._special[name] for name in _SEPARATORS if name in self._special]
        for candidate in (*named, self.bos, *sorted(self.eos)):
            if candidate is not None:
                return candidate
        raise TextError("this tokenizer has no document separator: none of its special tokens is a bos or an eos")

    def encode(self, text: str, *, special: bool = False) -> Encoding:
        """The tokens of `text`, without `prefix` and `suffix`, and where each stands in it.

        Markup such as "<|im_end|>" is plain text, so that what a user writes can never steer the model; pass
        `special=True` only for a rendered chat template, where it means the control token. A token that holds part of
        a character's bytes gets the place of the whole character. Raises RequestError for text that is not Unicode.
        """
        given.text("text", text)
        given.flag("special", special)
        with self._lock, self._guarded(), _whole():
            self._inner.encode_special_tokens = not special
            coded = self._inner.encode(text, add_special_tokens=False)
        return Encoding(coded.ids if special else self._plain(coded.ids), coded.offsets)

    def encode_masked(self, text: str) -> list[int]:
        """The ids of a text in which the mask, as the model spells it, stands for each word that is missing.

        As the reference has it: the mask may take the space in front of it along. Raises RequestError if the model has
        no mask, the text none either, or if it spells out another of the model's marks.
        """
        given.text("text", text)
        if self.mask is None:
            raise RequestError("this model's tokenizer has no mask to fill")
        spelled = self.token(self.mask)
        ids = self.encode(text, special=True).ids
        if self.mask not in ids:
            raise RequestError(f"the text has no gap to fill; write {spelled} where a word is missing")
        if marks := self.controls.intersection(ids) - {self.mask, self._unk}:
            raise RequestError(f"the text holds {self.token(min(marks))}, one of the model's own marks; leave it out")
        return ids

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts, each as by `encode`, by all threads at once. Raises RequestError."""
        texts = given.texts("texts", texts)
        with self._lock, self._guarded(), _whole():
            self._inner.encode_special_tokens = True
            coded = self._inner.encode_batch_fast(texts, add_special_tokens=False)
        return [self._plain(each.ids) for each in coded]

    def decode(self, ids: Iterable[int], *, special: bool = False) -> str:
        """The text of `ids`; special tokens are left out unless `special` is set. Unknown ids have no text.

        Raises RequestError for what is no id.
        """
        given.flag("special", special)
        with self._guarded():
            try:
                if isinstance(ids, str | bytes):
                    raise TypeError
                text: str = self._inner.decode(list(ids), skip_special_tokens=not special)
            except (TypeError, OverflowError):
                raise RequestError(f"ids are {given.shown(ids)}; they must be a list of whole numbers from 0") from None
        return text

    def token(self, id: int) -> str:
        """One token as text, for display: with its leading space, and special tokens as they are spelled.

        Raises RequestError for an id outside the vocabulary.
        """
        id = given.whole("id", id)
        with self._guarded():
            spelled: str | None = self._inner.id_to_token(id) if 0 <= id < 2**32 else None
        if spelled is None:
            raise RequestError(f"no token has the id {id}: this vocabulary has {self.vocab} tokens")
        if id in self.controls or id in self.byte_pieces:
            return spelled
        # The first token of a text may lose its leading space, so the second of two shows what the token adds.
        return self.decode((id, id))[len(self.decode((id,))) :]

    def spell(self, id: int) -> str:
        """`token`, also for one of the rows that many models have beyond their tokenizer's vocabulary."""
        id = given.whole("id", id, 0)
        known = self._spelled.get(id)
        if known is not None:
            return known
        with self._guarded():
            there = id < 2**32 and self._inner.id_to_token(id) is not None
        if not there:
            return f"<unused {id}>"
        self._spelled[id] = spelled = self.token(id)
        return spelled

    def raw(self, id: int) -> bytes:
        """The bytes that a token stands for: part of a character, perhaps, which `spell` cannot show."""
        text = self.spell(id)
        if id in self.byte_pieces:
            return bytes([int(text[1:-1], 16)])
        return (self.byte_level and self.written(id)) or text.encode()

    def written(self, id: int) -> bytes:
        """What a token of a byte-level vocabulary adds to a text, nothing for one that there is not.

        Raises RequestError for what is no id.
        """
        known = self._written.get(given.whole("id", id, 0))
        if known is None:
            with self._guarded():
                letters: str = (self._inner.id_to_token(id) if id < 2**32 else None) or ""
            # A token that was added, with letters that stand for no byte, is written as it is spelled.
            named = [_BYTES.get(letter) for letter in letters]
            known = letters.encode() if None in named else bytes(byte for byte in named if byte is not None)
            self._written[id] = known
        return known

    def id(self, token: str) -> int:
        """The id of one token, given as the vocabulary spells it or as text. Raises RequestError if it isn't one."""
        ids = self.encode(token).ids
        found = self._find(token)
        if found is not None:
            return found
        if len(ids) != 1:
            raise RequestError(f"{given.shown(token)} is not one token of this model but {len(ids)}")
        return ids[0]

    @property
    def template(self) -> str | None:
        """The source of the chat template, or None for a model that was not made for chat."""
        return self._parts.template

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        reply: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """A conversation as the text that the model was trained on; encode it with `special=True`, without `prefix`.

        `messages` have a "role" and a "content", and whatever else the template knows, such as lists of parts; values
        that are None count as missing. `reply` opens the model's answer. `tools` are functions that the model may call,
        each as {"type": "function", "function": {"name", "description", "parameters"}}, and `variables` what else the
        template asks for by name, such as "enable_thinking". A control token that a message spells out is
        broken by an invisible word joiner, so that it stays text. The template runs in a process of its own, with
        limits on time and memory. Raises TextError for a model without a template or a template that fails,
        RequestError for messages that are not made of text, numbers, lists and dicts.
        """
        given.flag("reply", reply)
        if tools is not None:
            each = given.many("tools", tools, "functions")
            tools = [given.mapping(f"tool {number}", tool, "values by name") for number, tool in each]
        if variables is not None:
            given.mapping("variables", variables, "values by name")
        parts = self._parts
        named = {"bos": parts.bos, "eos": parts.eos, "pad": parts.pad, "unk": parts.unk, **parts.others}
        tokens = {f"{name}_token": token for name, token in named.items() if token is not None}
        return chat.render(
            self.template,
            messages,
            reply=reply,
            tokens=tokens,
            controls=self._special,
            tools=tools,
            variables=variables or {},
        )

    def with_template(self, template: str) -> "Tokenizer":
        """The same tokenizer with this chat template."""
        given.text("template", template)
        with self._guarded():
            inner = tokenizers.Tokenizer.from_str(self.definition)
        return Tokenizer(replace(self._parts, inner=inner, template=template))

    def save(self, path: str | Path) -> None:
        """Writes tokenizer.json and tokenizer_config.json, which `transformers` reads and encodes equally."""
        folder.write(given.path("path", path), self.definition, self._parts)

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle and copy, by which other processes are given a tokenizer."""
        with self._guarded():
            inner = tokenizers.Tokenizer.from_str(self.definition)
        return Tokenizer, (replace(self._parts, inner=inner),)

    @property
    def definition(self) -> str:
        """The whole tokenizer.json."""
        with self._lock, self._guarded():
            self._inner.post_processor = self._around
            definition: str = self._inner.to_str()
            self._inner.post_processor = None
        return definition

    def _plain(self, ids: list[int]) -> list[int]:
        """Ids of a text in which nothing was meant to be a control token."""
        if self._unk is None or self.controls.isdisjoint(ids):
            return ids
        # Models that look whole pieces up (Unigram, some BPE) can still arrive at a control token by its letters.
        return [self._unk if id in self.controls else id for id in ids]

    def _find(self, token: str | None) -> int | None:
        with self._guarded(), _whole():
            return None if token is None else self._inner.token_to_id(token)

    def _guarded(self) -> guarded:
        return guarded(f"{self._parts.what} is damaged")


@contextmanager
def _whole() -> Iterator[None]:
    """Says what the inner tokenizer means by refusing a text."""
    try:
        yield
    except (TypeError, UnicodeError) as problem:
        raise RequestError(
            "the text is not Unicode: it holds half a surrogate pair, which is what bytes that are not UTF-8 become"
        ) from problem


def _mark_special(inner: tokenizers.Tokenizer, names: Iterable[str | None]) -> None:
    """Marks the tokens that the model's files give a role as special: some tokenizer.json files forget to."""
    added = {token.content: token for token in inner.get_added_tokens_decoder().values()}
    for name in names:
        if name is None or inner.token_to_id(name) is None:
            continue
        token = added.get(name, tokenizers.AddedToken(name, normalized=False))
        if not token.special:
            token.special = True
            inner.add_special_tokens([token])


def to_gguf(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """The metadata that `Tokenizer.from_gguf` makes the same tokenizer from. rows: of the model's embeddings. Raises
    TextError for a tokenizer that GGUF, or limelight's reader of it, cannot say."""
    parts, bos = tokenizer._parts, () if tokenizer.bos is None else (tokenizer.bos,)
    if tokenizer.prefix not in ((), bos) or len(tokenizer.suffix) > 1 or not tokenizer.eos.issuperset(tokenizer.suffix):
        raise TextError(f"{parts.what} puts other tokens around a text than bos and eos")
    return gguf.describe(parts, rows, front=bool(tokenizer.prefix), back=bool(tokenizer.suffix))
