"""ABC notation, as far as collections of folk tunes use it: read into tunes, and written in one way for each tune.

What is written is one text for a tune, in which every bar is a word: a header of metre, key and form, and a line for
each section. Lengths are in eighths, accidentals stand where the key or the bar does not say them already.

    M:6/8
    K:G
    % AAB
    |: "G"g2gB^AB| d2dG3| [1 "D7"A3G3:| [2 "D7"A3G2F||
    "Em"E2EG2G| B2Be2e||
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import takewhile

from limelight.errors import RequestError
from limelight.music.tune import LETTERS, Bar, Key, Note, Pitch, Section, Tune, eighths, metre, sounding, tuplet

ACCIDENTALS = {"": None, "^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
SIGNS = {alter: sign for sign, alter in ACCIDENTALS.items() if alter is not None}

EIGHTH = Fraction(1)
"""The unit of lengths in what `write` writes."""

ALPHABET = " \n\"#%'(),-/0123456789:=ABCDEFGKM[]^_abcdefgmz|"
"""The characters of what `write` writes in major and minor keys, those of unusual chords aside."""

_FIELD = re.compile(r"([A-Za-z]):(.*)")
_PITCH = r"(?:\^\^|\^|=|__|_)?[A-Ga-g][,']*"
_LENGTH = r"\d*/*\d*"
_NOTE = rf"{_PITCH}{_LENGTH}"
_TOKEN = re.compile(
    rf"""
    "(?P<symbol>[^"]*)"
    | (?P<bar>[:|\]]*[|](?:\](?!\d))?[:|]*|::)\ *(?:\[?(?P<ending>[12])(?![\d/]))?
    | \[(?P<alone>[12])
    | \[(?P<field>[A-Za-z]):(?P<value>[^\]]*)\]
    | \((?P<tuplet>[2-9])(?![:\d])
    | (?P<note>\[(?:\ *{_NOTE}\ *-?\ *)+\]|[zx]|{_PITCH})(?P<length>{_LENGTH})\ *(?P<tied>-)?
    | (?P<ignored>[\s~.*!?$()\\`]|![^!]*!|\{{[^}}]*\}}|\+[^+]*\+)
    """,
    re.VERBOSE,
)
_PARTS = re.compile(rf"({_PITCH})({_LENGTH})")
_SYMBOL = re.compile(r"([A-G][#b]?)([a-z0-9+]*)(?:/([A-Ga-g])([#b+]?))?")


def tunes(text: str) -> Iterator[tuple[int, str]]:
    """The tunes of an ABC file, each as text with the number of its first line; text before the first X: is none."""
    lines: list[str] = []
    begun = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("X:"):
            if begun:
                yield begun, "\n".join(lines)
            lines, begun = [], number
        lines.append(line)
    if begun:
        yield begun, "\n".join(lines)


def read(text: str, unit: Fraction | None = None) -> Tune:
    """One tune. unit: of its lengths, in eighths, where it does not say; else what ABC takes for its metre.

    Raises RequestError, saying what and where, for what this notation or this reader does not know: voices, changes of
    key or metre within a tune, signs of its own.
    """
    return _Reader(unit).read(text)


def write(tune: Tune, number: int | None = None) -> str:
    """A tune as text. number: writes a whole ABC tune of this number, with title and unit; without, what a model reads.

    Reading it, with eighths as the unit, gives the same tune (but for the title, without a number).
    """
    front = f"X:{number}\nT:{tune.title or f'Tune {number}'}\n" if number is not None else ""
    unit = "L:1/8\n" if number is not None else ""
    head = f"{front}M:{tune.metre[0]}/{tune.metre[1]}\n{unit}K:{tune.key}\n% {tune.form}\n"
    return head + "".join(_section(section, tune.key) for section in tune.sections)


@dataclass(frozen=True)
class Beginning:
    """How a tune begins. metre, key: as a header says them, or nothing. form: of the sections that are there; text: as
    `write` would go on behind the header."""

    metre: str
    key: str
    form: str
    text: str


def beginning(text: str, metre: str = "", key: str = "") -> Beginning:
    """The beginning of a tune, with a header or without. metre, key: for one that says none.

    The last note may stand anywhere in a bar. Raises RequestError for what is not understood, or if there are two
    metres or keys.
    """
    reader = _Reader(EIGHTH)
    if metre:
        reader.line(f"M:{metre}")
    if key:
        reader.line(f"K:{key}")
    for line in text.splitlines():
        if reader.key is None and not _FIELD.match(line):
            break
        reader.line(line)
    if reader.metre is None or reader.key is None:
        raise RequestError("a beginning needs a metre and a key; ask for them, or write them in front: M:6/8, K:D")
    return reader.beginning()


def _section(section: Section, key: Key) -> str:
    start = f"{_bar(section.upbeat, key)} " if section.upbeat else ""
    start += "|: " if section.repeated or section.endings is not None else ""
    bars = [_bar(bar, key) for bar in section.bars]
    if section.endings is None:
        return start + "| ".join(bars) + (":|\n" if section.repeated else "||\n")
    first, second = ("| ".join(_bar(bar, key) for bar in ending) for ending in section.endings)
    return f"{start}{'| '.join(bars)}| [1 {first}:| [2 {second}||\n"


def _bar(bar: Bar, key: Key) -> str:
    said: dict[int, int] = {}
    written = []
    for note in bar:
        written.append(f'"{note.symbol}"' if note.symbol else "")
        written.append(f"({note.tuplet}" if note.tuplet else "")
        names = [_name(pitch, key, said) for pitch in note.pitches]
        written.append(names[0] if len(names) == 1 else f"[{''.join(names)}]" if names else "z")
        written.append(_length(note.length) + ("-" if note.tied else ""))
    return "".join(written)


def _name(pitch: Pitch, key: Key, said: dict[int, int]) -> str:
    """A pitch as it is written. said: the accidentals of the bar so far, by letter."""
    place = pitch.step % 7
    sign = "" if said.get(place, key.alter(place)) == pitch.alter else SIGNS[pitch.alter]
    said[place] = pitch.alter
    octave = pitch.step // 7
    letter = LETTERS[place].lower() if octave > 0 else LETTERS[place]
    return sign + letter + "'" * (octave - 1) + "," * -octave


def _length(length: Fraction) -> str:
    over = str(length.numerator) if length.numerator != 1 else ""
    under = "" if length.denominator == 1 else "/" if length.denominator == 2 else f"/{length.denominator}"
    return over + under


class _Reader:
    """Goes through a tune once."""

    def __init__(self, unit: Fraction | None) -> None:
        self.title = ""
        self.metre: tuple[int, int] | None = None
        self.key: Key | None = None
        self.unit = unit  # in eighths
        self.sections: list[Section] = []
        self.body: list[Bar] = []
        self.first: list[Bar] = []  # ending
        self.second: list[Bar] = []
        self.open = self.body  # where the next bar goes
        self._empty_bar()
        self.waits = False  # for a second ending, which may stand on the next line
        self.begun = False  # by a sign that something is to be repeated
        self.group = (0, Fraction(1))  # notes of the tuplet to come, and how they sound
        self.opens = 0
        self.symbol = ""

    def read(self, text: str) -> Tune:
        for number, line in enumerate(text.splitlines(), 1):
            try:
                self.line(line)
            except RequestError as error:
                raise RequestError(f"line {number} of the tune: {error}") from None
        if self.key is None:
            raise RequestError("the tune has no key; write it as K:D in a line of its own")
        self._end_bar()
        self._end_section(repeated=bool(self.first))
        if not self.sections:
            raise RequestError("the tune has no notes")
        return Tune(self._metre(), self.key, _joined(self.sections, eighths(self._metre())), self.title)

    def beginning(self) -> Beginning:
        """What was read so far as the beginning of a tune."""
        assert self.key is not None
        if self.first:
            raise RequestError("the beginning ends between a first and a second ending; end it before them or behind")
        sections = _joined(self.sections, eighths(self._metre()))
        bars = self.body + ([tuple(self.notes)] if self.notes else [])
        if bars and sections and self.begun and len(sections[-1].bars) == 1 and not sections[-1].repeated:
            bars, sections = [*sections[-1].bars, *bars], sections[:-1]
        opened = "| ".join(_bar(bar, self.key) for bar in bars) + ("| " if bars and not self.notes else "")
        told = Tune(self._metre(), self.key, sections).form
        letter = chr(ord("A") + len(set(told)))
        told += letter * (1 + self.begun) if bars else ""
        written = "".join(_section(section, self.key) for section in sections)
        mark = "|: " if bars and self.begun else ""
        return Beginning("{}/{}".format(*self._metre()), str(self.key), told, written + mark + opened)

    def line(self, line: str) -> None:
        """Reads one line."""
        line = line.partition("%")[0].rstrip()
        if field := _FIELD.fullmatch(line):
            self._field(field[1], field[2].strip())
            return
        if self.key is None:
            if line.strip():
                raise RequestError(f"{line[:40]!r} stands before the key; a header line begins as in M:6/8")
            return
        place = 0
        while place < len(line):
            match = _TOKEN.match(line, place)
            if match is None or match.end() == place:
                raise RequestError(f"a sign is not understood ({line[place : place + 12]!r})")
            place = match.end()
            self._token(match)

    def _token(self, match: re.Match[str]) -> None:
        if match["symbol"] is not None:
            self.symbol = self.symbol or _symbol(match["symbol"])
        elif match["field"]:
            self._field(match["field"], match["value"].strip())
        elif match["tuplet"]:
            self.opens = int(match["tuplet"])
            self.group = (self.opens, tuplet(self.opens, self._metre()))
        elif match["note"]:
            self._note(match["note"], match["length"], tied=bool(match["tied"]) or "-" in match["note"])
        elif match["bar"] or match["alone"]:
            self._bar(match["bar"] or "", match["ending"] or match["alone"])

    def _field(self, name: str, value: str) -> None:
        inside = self.key is not None
        if name == "T":
            self.title = self.title or value
        elif name == "M":
            found = metre(value)
            if inside and found != self.metre and (self.sections or self.body or self.notes):
                raise RequestError(f"the metre changes (to {value}); tunes of one metre are read")
            self.metre = found
        elif name == "K":
            key = Key.of(value.split(" ", 1)[0] if value else value)
            if inside and key != self.key and (self.sections or self.body or self.notes):
                raise RequestError(f"the key changes (to {value}); tunes of one key are read")
            self.key = key
        elif name == "L":
            unit = re.fullmatch(r"1(?:/(\d+))?", value)
            if not unit:
                raise RequestError(f"{value!r} is no unit of length; write it as L:1/8")
            self.unit = Fraction(8, int(unit[1] or 1))
        elif name == "P" and inside:
            self._end_bar()
            self._end_section()
        elif name == "V":
            raise RequestError("it has several voices; tunes of one voice are read")

    def _note(self, name: str, length: str, *, tied: bool) -> None:
        if self.waits:
            self._end_section(repeated=True)
        unit = self.unit if self.unit is not None else Fraction(1 if eighths(self._metre()) >= 6 else Fraction(1, 2))
        written = unit * _number(length)
        pitches: list[Pitch] = []
        if name[0] not in "zx":
            parts = _PARTS.findall(name)
            if name[0] == "[":
                written *= _number(parts[0][1])
            pitches = [self._pitch(part) for part, _ in parts]
        left, ratio = self.group
        note = Note(tuple(pitches), written, written * ratio, tied, self.opens, self.symbol)
        if not 0 < written <= 64:
            raise RequestError(f"{name + length!r} has no length that a note can have")
        self.notes.append(note)
        self.group = (left - 1, ratio) if left > 1 else (0, Fraction(1))
        self.opens, self.symbol = 0, ""

    def _pitch(self, name: str) -> Pitch:
        sign = "".join(takewhile("^=_".__contains__, name))
        letter, marks = name[len(sign)], name[len(sign) + 1 :]
        octave = letter.islower() + marks.count("'") - marks.count(",")
        step = 7 * octave + LETTERS.index(letter.upper())
        assert self.key is not None
        alter = ACCIDENTALS[sign]
        if alter is None:
            alter = self.said.get(step % 7, self.key.alter(step))
        self.said[step % 7] = alter
        return Pitch(step, alter)

    def _bar(self, sign: str, ending: str | None) -> None:
        self._end_bar()
        middle = sign.rstrip(":") if sign != "::" else sign
        repeats = middle.startswith(":")
        if self.waits and ending != "2":
            self._end_section(repeated=True)
        begins = sign.endswith(":")
        if repeats and self.open is not self.first:
            self._end_section(repeated=True)
        elif not repeats and (begins or "||" in sign or "]" in sign) and not ending:
            self._end_section(repeated=bool(self.first))
        self.begun = begins or (self.begun and not repeats and "||" not in sign)
        if ending == "1":
            self.open = self.first
        elif ending == "2":
            self.open = self.second
        self.waits = repeats and bool(self.first) and ending != "2"

    def _end_bar(self) -> None:
        if self.notes:
            self.open.append(tuple(self.notes))
        self._empty_bar()

    def _empty_bar(self) -> None:
        self.notes: list[Note] = []
        self.said: dict[int, int] = {}

    def _end_section(self, *, repeated: bool = False) -> None:
        if self.first and self.second:
            self.sections.append(Section(tuple(self.body), endings=(tuple(self.first), tuple(self.second))))
        elif self.body or self.first or self.second:
            self.sections.append(Section((*self.body, *self.first, *self.second), repeated))
        self.body, self.first, self.second = [], [], []
        self.open = self.body
        self.waits = False

    def _metre(self) -> tuple[int, int]:
        if self.metre is None:
            raise RequestError("the tune has no metre; write it as M:6/8 in front of the key")
        return self.metre


def _joined(sections: list[Section], whole: Fraction) -> tuple[Section, ...]:
    """The sections, a lone upbeat as part of the next one: inside its repeat, where the end of that leaves room."""
    found: list[Section] = []
    upbeat: Bar = ()
    for at, section in enumerate(sections, 1):
        alone = len(section.bars) == 1 and not section.repeated and section.endings is None
        if alone and at < len(sections) and sounding(section.bars[0]) < whole:
            upbeat = section.bars[0]
        elif upbeat:
            last = (section.endings[0] if section.endings else section.bars)[-1]
            inside = (not section.repeated and section.endings is None) or sounding(last) < whole
            found.append(replace(section, bars=(upbeat, *section.bars)) if inside else replace(section, upbeat=upbeat))
            upbeat = ()
        else:
            found.append(section)
    return tuple(found)


def _number(text: str) -> Fraction:
    """A length as ABC writes it: 3, 3/2, /2, / for a half, // for a quarter."""
    over, slash, under = text.partition("/")
    if not slash:
        return Fraction(int(over or 1))
    halves = under.count("/")
    divisor = int(under.strip("/") or 2) if not halves or under.strip("/") else 2 ** (halves + 1)
    if divisor == 0:
        raise RequestError(f"{text!r} divides a length by nothing")
    return Fraction(int(over or 1), divisor)


def _symbol(text: str) -> str:
    """A chord symbol in one spelling; nothing for other words over the staff."""
    match = _SYMBOL.match(text.strip(" ()").replace(" ", ""))
    if match is None:
        return ""
    bass = f"/{match[3].upper()}{match[4].replace('+', '#')}" if match[3] else ""
    return match[1] + match[2] + bass
