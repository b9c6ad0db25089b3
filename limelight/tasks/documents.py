"""Documents translated: what is said is, and paragraphs, mark-up, times and placeholders stay as they are."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from limelight.errors import FileError

Say = Callable[[Sequence[str]], Sequence[str]]
"""Translates sentences, as many as it is given."""

Part = tuple[str, bool]
"""A piece of a document, and whether it is to be translated."""

KINDS = (".txt", ".md", ".po", ".srt")

KEPT = re.compile(
    r"`[^`\n]+`|https?://[^\s<>()\]]+|<[^<>\n]+>|\]\([^()\s]*\)|!?\[(?=[^\]\n]*\]\()|\*\*|__|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)"
    r"|%\(\w+\)[-+ #0-9.]*[a-zA-Z]|%[-+#0]*\d*(?:\.\d+)?[sdifgxXcr]|%%|\$\{\w+\}|\{[^{}\s]*\}|&\w+;"
)
"""Mark-up, addresses, code and placeholders, which stand in a sentence and are no words of it."""

_SENTENCE = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+(?=[\"'“‘(\[¿¡]*[^\W\d_a-z])")
_MARKED = re.compile(r"^(\s*(?:#{1,6}\s+|[-*+]\s+(?:\[[ xX]\]\s+)?|\d{1,9}[.)]\s+|>\s?)*)")
_TIMES = re.compile(r"^\d+:\d\d:\d\d[,.]\d+\s+-->")
_PO = re.compile(r'^(msgid|msgid_plural|msgctxt|msgstr(?:\[\d+\])?)?\s*"((?:[^"\\]|\\.)*)"\s*$')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


def translated(text: str, kind: str, say: Say) -> str:
    """A document of one of `KINDS` in another language.

    A sentence is translated with its mark-up and placeholders in it; where these do not come back as they were, the
    words between them are translated piece by piece, so that none is ever lost or changed. Of a .po file the messages
    without a translation are filled in. Raises FileError for a .po file with a line that is none.
    """
    if kind == ".po":
        return _catalogue(text, say)
    parts = list({".md": _markdown, ".srt": _subtitles}.get(kind, _plain)(text))
    done = iter(_sentences([part for part, words in parts if words], say))
    return "".join(next(done) if words else part for part, words in parts)


def _sentences(texts: Sequence[str], say: Say) -> list[str]:
    """Texts translated sentence by sentence, the white space around each kept."""
    cut = [list(_cut(text)) for text in texts]
    wanted = [part for parts in cut for part, words in parts if words]
    said = dict(zip(wanted, _whole(wanted, say), strict=True))
    return ["".join(said[part] if words else part for part, words in parts) for parts in cut]


def _whole(sentences: Sequence[str], say: Say) -> list[str]:
    """Sentences translated, with all that is `KEPT` in them."""
    said = [" ".join(each.split()) for each in say(sentences)]
    broken = [
        place
        for place, (ours, theirs) in enumerate(zip(sentences, said, strict=True))
        if Counter(KEPT.findall(ours)) != Counter(KEPT.findall(theirs))
    ]
    pieces = {place: list(_pieces(sentences[place])) for place in broken}
    again = iter(say([part for parts in pieces.values() for part, words in parts if words]))
    for place, parts in pieces.items():
        said[place] = "".join(" ".join(next(again).split()) if words else part for part, words in parts)
    return said


def _pieces(sentence: str) -> Iterator[Part]:
    """What is kept of a sentence, and the words between, without the white space around them."""
    at = 0
    for found in chain(KEPT.finditer(sentence), [None]):
        end = len(sentence) if found is None else found.start()
        yield from _trimmed(sentence[at:end])
        if found is not None:
            yield found[0], False
            at = found.end()


def _cut(text: str) -> Iterator[Part]:
    at = 0
    for found in chain(_SENTENCE.finditer(text), [None]):
        end = len(text) if found is None else found.end()
        yield from _trimmed(text[at:end])
        at = end


def _trimmed(text: str) -> Iterator[Part]:
    """A text between its white space; what has no letter is not translated."""
    words = text.strip()
    if not any(character.isalpha() for character in KEPT.sub("", words)):
        yield text, False
        return
    at = text.index(words)
    yield from ((text[:at], False), (words, True), (text[at + len(words) :], False))


def _plain(text: str) -> Iterator[Part]:
    """Paragraphs as wholes where their lines are wrapped, else line by line."""
    for block in re.split(r"(\n[ \t]*\n\s*)", text):
        lines = block.strip("\n").split("\n")
        wrapped = len(lines) > 1 and all(len(line) >= 50 for line in lines[:-1])
        if wrapped:
            yield (re.sub(r"[ \t]*\n[ \t]*", " ", block), True)
        else:
            yield from ((line, bool(line.strip())) for line in block.splitlines(keepends=True))


def _markdown(text: str) -> Iterator[Part]:
    """Line by line, the marks in front left out; neither code nor what stands in front of the document."""
    fence, front = "", text.startswith("---\n")
    held: list[str] = []
    for number, line in enumerate(text.splitlines(keepends=True)):
        bare = line.strip()
        ends = bool(fence) and bare.startswith(fence) and not bare.strip(fence[0])
        opens = not fence and re.match(r"(`{3,}|~{3,})", bare)
        code = fence or opens or front or (line.startswith(("    ", "\t")) and not held)
        marks = _MARKED.match(line)
        start = marks[1] if marks else ""
        if code or not bare or bare.startswith("|") or start.strip():
            yield from _joined(held)
            held = []
        if opens:
            fence = opens[1]
        elif ends:
            fence = ""
        if front and number and bare == "---":
            front = False
        if code or not bare or re.fullmatch(r"[-=*_|: ]+", bare):
            yield line, False
        elif bare.startswith("|"):
            yield from ((cell, cell != "|") for cell in re.split(r"(?<!\\)(\|)", line))
        else:
            held.append(line)
            if start.strip().startswith("#"):
                yield from _joined(held)
                held = []
    yield from _joined(held)


def _joined(lines: Sequence[str]) -> Iterator[Part]:
    """The lines of a paragraph or of a list's point as one text behind its mark."""
    if not lines:
        return
    marks = _MARKED.match(lines[0])
    start = marks[1] if marks else ""
    yield start, False
    yield " ".join([lines[0][len(start) :].strip(), *(line.strip() for line in lines[1:])]), True
    yield lines[-1][len(lines[-1].rstrip("\r\n")) :], False


def _subtitles(text: str) -> Iterator[Part]:
    """What is said, without numbers and times; the lines of one subtitle as one text."""
    held: list[str] = []
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        ahead = lines[number + 1] if number + 1 < len(lines) else ""
        if not line.strip() or _TIMES.match(line) or (line.strip().isdigit() and _TIMES.match(ahead)):
            yield from _joined(held)
            held = []
            yield line, False
        else:
            held.append(line)
    yield from _joined(held)


def _catalogue(text: str, say: Say) -> str:
    """A .po file, line by line as it was, with translations where there were none."""
    lines = text.splitlines()
    wanted: list[tuple[int, int, str]] = []  # lines of an empty msgstr, and what it translates
    entry: dict[str, str] = {}
    begun, field = 0, ""
    for number, line in enumerate([*lines, ""]):
        bare = line.strip()
        found = _PO.match(bare)
        if bare and not bare.startswith("#") and found is None:
            raise FileError(f"line {number + 1}: not a line of a .po file: {bare[:40]!r}")
        if (found is None or found[1]) and field.startswith("msgstr"):
            source = entry.get("msgid_plural" if field not in ("msgstr", "msgstr[0]") else "msgid", "")
            if source and not entry[field]:
                wanted.append((begun, number, source))
        if found is None:
            entry, field = {}, ""
            continue
        if found[1]:
            field, begun = found[1], number
            entry = {} if field in ("msgid", "msgctxt") and "msgstr" in " ".join(entry) else entry
            entry[field] = ""
        entry[field] = entry.get(field, "") + re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), found[2])
    done = [
        "".join(next(said) if words else part for part, words in parts)
        for parts in [list(_plain(source)) for _, _, source in wanted]
        for said in [iter(_sentences([part for part, words in parts if words], say))]
    ]
    for (first, end, _), message in reversed(list(zip(wanted, done, strict=True))):
        escaped = message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        name = lines[first].strip().partition(" ")[0]
        lines[first:end] = [f'{name} "{escaped}"']
    return "\n".join(lines) + ("\n" if text.endswith("\n") else "")
