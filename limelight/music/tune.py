"""What a tune is: a metre, a key, and sections of bars with notes; and whether its bars add up."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import final

from limelight.errors import RequestError

LETTERS = "CDEFGAB"
NATURAL = (0, 2, 4, 5, 7, 9, 11)
"""Semitones of the letters above C."""

FIFTHS = "FCGDAEB"
"""The order in which keys take sharps; flats are taken from the other end."""

MODES = {"": 0, "m": -3, "Mix": -1, "Dor": -2, "Phr": -4, "Lyd": 1, "Loc": -5}
"""How ABC writes the modes, and how many sharps more a mode has than the major key of its tonic."""

TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}
"""So many notes in the time of how many; five, seven and nine take the time of two, or of three in compound metres."""


@dataclass(frozen=True, slots=True)
class Pitch:
    """A note as it is written: `step` counts letters from middle C, `alter` semitones from the letter's own pitch."""

    step: int
    alter: int = 0

    @property
    def midi(self) -> int:
        """The number of the key on a keyboard; middle C is 60."""
        return 60 + 12 * (self.step // 7) + NATURAL[self.step % 7] + self.alter


@dataclass(frozen=True, slots=True)
class Note:
    """Pitches that sound together, none for a rest, and their length as written, in eighths.

    tied: they go on in the next note. tuplet: how many notes of a group begin here, 0 for none. symbol: the chord to
    accompany with from here on, such as "Am7". sounds: the length in eighths, in a tuplet shorter than what is written.
    """

    pitches: tuple[Pitch, ...]
    length: Fraction
    sounds: Fraction
    tied: bool = False
    tuplet: int = 0
    symbol: str = ""


Bar = tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """A tonic (its letter, and −1 for flat or 1 for sharp) and a mode of MODES."""

    letter: str
    accidental: int
    mode: str

    @staticmethod
    def of(name: str) -> "Key":
        """The key that ABC calls `name`: D, Am, F#m, Bb, EDor. Raises RequestError for another name."""
        text = name.strip().replace(" ", "")
        mode = text[1:].lstrip("#b").lower()
        accidental = {"": 0, "#": 1, "b": -1}.get(text[1 : len(text) - len(mode)])
        found = [known for known in MODES if known.lower() == mode[:3]]
        if mode in {"maj", "major", "ion", "ionian"}:
            found = [""]
        elif mode in {"m", "min", "minor", "aeo", "aeolian"}:
            found = ["m"]
        if not text or text[0] not in LETTERS or accidental is None or not found:
            raise RequestError(f"{name!r} is no key; keys are written as D, Am, F#m, Bb or EDor")
        key = Key(text[0], accidental, found[0])
        if abs(key.sharps) > 7:
            raise RequestError(f"{name} would have {abs(key.sharps)} sharps or flats; at most 7 are written")
        return key

    @staticmethod
    def at(sharps: int, mode: str) -> "Key":
        """The key of a mode with so many sharps (below 0: flats)."""
        place = sharps - MODES[mode] + 1  # of the tonic in the order of fifths, F being 0
        return Key(FIFTHS[place % 7], place // 7, mode)

    @property
    def sharps(self) -> int:
        """How many sharps stand in front; below 0, flats."""
        return FIFTHS.index(self.letter) - 1 + 7 * self.accidental + MODES[self.mode]

    def alter(self, step: int) -> int:
        """What the key makes of a letter, in semitones."""
        return floor((self.sharps - FIFTHS.index(LETTERS[step % 7]) + 6) / 7)

    @property
    def tonic(self) -> int:
        """The pitch class of its first note; C is 0."""
        return (NATURAL[LETTERS.index(self.letter)] + self.accidental) % 12

    @property
    def scale(self) -> frozenset[int]:
        """Its seven pitch classes."""
        return frozenset((NATURAL[step] + self.alter(step)) % 12 for step in range(7))

    def __str__(self) -> str:
        return self.letter + ("b" if self.accidental < 0 else "#" * self.accidental) + self.mode


@dataclass(frozen=True, slots=True)
class Section:
    """Bars that are played once, or twice.

    endings: what the first and the second time end in, where they differ. upbeat: notes before the repeat, which sound
    the first time alone.
    """

    bars: tuple[Bar, ...]
    repeated: bool = False
    endings: tuple[tuple[Bar, ...], tuple[Bar, ...]] | None = None
    upbeat: Bar = ()

    def times(self) -> list[tuple[Bar, ...]]:
        """Its bars in the order in which they sound, for each time that it is played."""
        before = (self.upbeat,) if self.upbeat else ()
        if self.endings is not None:
            return [before + self.bars + self.endings[0], self.bars + self.endings[1]]
        return [before + self.bars, *([self.bars] if self.repeated else ())]

    def written(self) -> tuple[Bar, ...]:
        """Its bars in the order in which they stand."""
        first, second = self.endings or ((), ())
        return ((self.upbeat,) if self.upbeat else ()) + self.bars + first + second


@final
@dataclass(frozen=True, slots=True)
class Tune:
    """A metre as it is written, such as (6, 8), a key, and sections."""

    metre: tuple[int, int]
    key: Key
    sections: tuple[Section, ...]
    title: str = ""

    @property
    def bar(self) -> Fraction:
        """The length of a bar in eighths."""
        return eighths(self.metre)

    @property
    def form(self) -> str:
        """A letter for each time that a section is played, as in AABB; sections of the same notes have one letter."""
        known: dict[Section, str] = {}
        letters = []
        for section in self.sections:
            like = replace(section, repeated=False, upbeat=())
            letter = known.setdefault(like, chr(ord("A") + len(known) % 26))
            letters.append(letter * len(section.times()))
        return "".join(letters)

    def notes(self) -> Iterator[Note]:
        """All notes and rests in the order in which they stand."""
        return (note for section in self.sections for bar in section.written() for note in bar)

    def melody(self) -> list[int]:
        """The highest pitch of each note as it stands; tied notes are one, rests are none."""
        found, held = [], False
        for note in self.notes():
            if note.pitches and not held:
                found.append(max(pitch.midi for pitch in note.pitches))
            held = note.tied
        return found

    def transposed(self, key: Key) -> "Tune":
        """The same in another key of the same mode, up or down by at most six semitones. Raises RequestError for
        another mode."""
        if key.mode != self.key.mode:
            raise RequestError(f"a tune in {self.key} can be moved to another key of its mode, and {key} is none")
        fifths = key.sharps - self.key.sharps
        octaves = floor((7 * fifths + 6) / 12)  # so that it moves by −6 to 5 semitones
        steps, semitones = 4 * fifths - 7 * octaves, 7 * fifths - 12 * octaves
        moved = tuple(
            replace(
                section,
                bars=_moved(section.bars, steps, semitones),
                upbeat=_moved((section.upbeat,), steps, semitones)[0],
                endings=None
                if section.endings is None
                else (_moved(section.endings[0], steps, semitones), _moved(section.endings[1], steps, semitones)),
            )
            for section in self.sections
        )
        return Tune(self.metre, key, moved, self.title)

    def adds_up(self) -> bool:
        """Whether its bars are as long as its metre says.

        The first and the last bar of a section may be shorter if together, as they follow each other when it is played,
        they make a whole one. The first of the tune may be an upbeat that its end makes whole, or not.
        """
        whole = self.bar
        passes = [[sounding(bar) for bar in bars] for section in self.sections for bars in section.times()]
        first, last = passes[0][0], passes[-1][-1]
        if not 0 < first <= whole or last not in {whole, whole - first}:
            return False
        passes[0][0] = passes[-1][-1] = whole
        for one, other in pairwise(passes):
            if one[-1] != whole or other[0] != whole:
                if one[-1] + other[0] != whole:
                    return False
                one[-1] = other[0] = whole
        return all(length == whole for each in passes for length in each)

    def keeps_key(self) -> bool:
        """Whether at least nine tenths of its time are on notes of its scale, and it ends on one of the tonic chord."""
        within, total, last = Fraction(0), Fraction(0), None
        for note in self.notes():
            for pitch in note.pitches:
                total += note.sounds
                within += note.sounds * (pitch.midi % 12 in self.key.scale)
                last = pitch.midi % 12
        third = 3 if self.key.mode in {"m", "Dor", "Phr", "Loc"} else 4
        return last in {(self.key.tonic + above) % 12 for above in (0, third, 7)} and within * 10 >= total * 9


def eighths(metre: tuple[int, int]) -> Fraction:
    """The length of a bar of a metre, in eighths."""
    return Fraction(8 * metre[0], metre[1])


def sounding(bar: Bar) -> Fraction:
    """How long a bar sounds, in eighths."""
    return sum((note.sounds for note in bar), Fraction(0))


def tuplet(count: int, metre: tuple[int, int]) -> Fraction:
    """How much shorter than written the notes of a tuplet sound."""
    compound = metre[1] == 8 and metre[0] % 3 == 0
    return Fraction(TUPLETS.get(count, 3 if compound else 2), count)


def metre(text: str) -> tuple[int, int]:
    """A metre as ABC writes it: 6/8, 4/4, C, C|. Raises RequestError for another text."""
    known = {"C": (4, 4), "C|": (2, 2)}
    if text.strip() in known:
        return known[text.strip()]
    beats, sign, unit = text.strip().partition("/")
    if not (sign and beats.isdecimal() and unit in {"1", "2", "4", "8", "16"} and 1 <= int(beats) <= 32):
        raise RequestError(f"{text!r} is no metre; metres are written as 4/4, 6/8 or 3/4")
    return int(beats), int(unit)


def _moved(bars: tuple[Bar, ...], steps: int, semitones: int) -> tuple[Bar, ...]:
    return tuple(
        tuple(
            replace(
                note,
                pitches=tuple(respelled(pitch, steps, semitones) for pitch in note.pitches),
                symbol=_moved_symbol(note.symbol, steps, semitones),
            )
            for note in bar
        )
        for bar in bars
    )


def respelled(pitch: Pitch, steps: int, semitones: int, most: int = 2) -> Pitch:
    """A pitch moved by letters and semitones; where that took more than `most` sharps or flats, by another letter."""
    wanted = pitch.midi + semitones
    for nearby in (0, 1, -1):
        moved = Pitch(pitch.step + steps + nearby)
        alter = wanted - moved.midi
        if abs(alter) <= (1 if nearby else most):
            return Pitch(moved.step, alter)
    raise AssertionError("one of three neighbouring letters is at most a semitone away")


def _moved_symbol(symbol: str, steps: int, semitones: int) -> str:
    root, slash, bass = symbol.partition("/")
    return _moved_root(root, steps, semitones) + slash + _moved_root(bass, steps, semitones)


def _moved_root(name: str, steps: int, semitones: int) -> str:
    if not name:
        return ""
    accidental = {"#": 1, "b": -1}.get(name[1:2], 0)
    moved = respelled(Pitch(LETTERS.index(name[0]), accidental), steps, semitones, 1)
    sign = "#" * moved.alter if moved.alter > 0 else "b" * -moved.alter
    return LETTERS[moved.step % 7] + sign + name[1 + abs(accidental) :]
