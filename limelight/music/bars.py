"""What may come next in a tune, character by character, so that its bars add up and its form is the one asked for.

A `Score` follows a text as `abc.write` writes it. It takes a character only if the text can be gone on with to a tune
whose bars are as long as its metre says; so a text that it took, to the end, needs no repair. It knows no tokens: a
token fits if its characters do, whatever kind of token that is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from limelight.errors import RequestError
from limelight.music.abc import ACCIDENTALS
from limelight.music.copies import WINDOW, Windows, known
from limelight.music.tune import LETTERS, Key, Pitch, eighths, metre, tuplet

METRES = ("2/2", "2/4", "3/2", "3/4", "3/8", "4/4", "5/4", "6/4", "6/8", "9/8", "12/8")
KEYS = tuple(str(Key.at(sharps, mode)) for mode in ("", "m") for sharps in range(-5, 7))
"""What a tune may be in, if nothing else is asked for."""


LENGTHS = {
    f"{over if over > 1 else ''}{sign}": Fraction(over, under)
    for sign, under, most in (("", 1, 16), ("/", 2, 7), ("/4", 4, 1))
    for over in range(1, most + 1)
    if under == 1 or over % 2
}
"""How long a note may be, in eighths, as it is written. Of quarters of an eighth there is one alone: with three of them
whoever draws a 3 that is too long could only go on to three quarters."""

GOING_ON = {
    text[:end]: tuple(whole for whole in LENGTHS if whole.startswith(text[:end]))
    for text in LENGTHS
    for end in range(len(text) + 1)
}
"""What the beginning of a length can become."""

OF_TRIPLETS = ("/", "", "2")
"""Lengths of a triplet's notes, which are all of one length here."""

HEADER = ("metre", "key", "form")
MOST = 32
"""Bars of a section, if not so many are asked for."""

_SYMBOL = re.compile(r"[A-G](?:[#b]?(?:[a-z0-9]{0,4}(?:/(?:[A-G][#b]?)?)?)?)?")
_WHOLE_SYMBOL = re.compile(r"[A-G][#b]?[a-z0-9]{0,4}(?:/[A-G][#b]?)?")


@dataclass(frozen=True, slots=True)
class Part:
    """A section of a form: its letter, whether it is played twice at once, whether it was there before, or comes again
    later."""

    letter: str
    repeated: bool
    again: bool
    later: bool


def parts(form: str) -> tuple[Part, ...]:
    """The sections of a form such as AABB. Raises RequestError for what is no form."""
    if not re.fullmatch("[A-Z]{1,16}", form) or form[0] != "A":
        raise RequestError(f"{form!r} is no form; forms are up to 16 letters such as AABB, one for the same notes")
    found: list[Part] = []
    place = 0
    while place < len(form):
        letter = form[place]
        end = place + (2 if form[place : place + 2] == letter * 2 else 1)
        found.append(Part(letter, end - place == 2, letter in form[:place], letter in form[end:]))
        place = end
    return tuple(found)


@final
class Score:
    """A tune that is being written, from its header on.

    metre, key, form: what is asked for, as the header says it; where they are empty, any will do. bars: of each
    section; 0 leaves it open, up to MOST. start: what the tune begins with, behind the header. windows: runs of notes
    that must not be copied, see `copies`. Raises RequestError for what makes no sense.
    """

    def __init__(
        self,
        metre: str = "",
        key: str = "",
        form: str = "",
        *,
        bars: int = 0,
        start: str = "",
        windows: Windows | None = None,
    ) -> None:
        self.metres = (_metre(metre),) if metre else METRES
        self.keys = (str(Key.of(key)),) if key else KEYS
        self.form = form
        if form:
            parts(form)
        self.most, self.exact = bars or MOST, bool(bars)
        self.start, self.windows = start, windows
        self.given = bool(start)  # the start is where the text ends
        self.at = "metre"
        self.line = ""
        self.forced = "M:"

    def ends(self) -> bool:
        """Whether the tune may end here."""
        return self.at == "section" and not self.forced and self.number == len(self.plan)

    def fits(self, text: str) -> bool:
        """Whether the text may go on by these characters."""
        trial = Score.__new__(Score)  # nothing in a score is changed in place; `copy` takes five times as long
        trial.__dict__.update(self.__dict__)
        return bool(text) and all(trial._take(character) for character in text)

    def take(self, text: str) -> None:
        """Goes on by these characters. Raises RequestError if they do not fit; the object is then of no use."""
        for place, character in enumerate(text, 1):
            if not self._take(character):
                raise RequestError(f"{text[:place][-24:]!r} cannot stand there: the bars would not add up")

    def _take(self, character: str) -> bool:
        if self.forced:
            if character != self.forced[0]:
                return False
            self.forced = self.forced[1:]
            if self.at not in HEADER and self.start[:1] == character:
                self.start = self.start[1:]
            return bool(self.forced) or self.at != "again" or self._over()
        if self.at in HEADER:
            pass
        elif self.start:
            if character != self.start[0]:
                return False
            self.start = self.start[1:]
        elif self.given and character in "0123456789/,'":
            return False  # the last note of the start stays as it was given
        else:
            self.given = False
        taken: bool = getattr(self, f"_at_{self.at}")(character)
        return taken

    # The header

    def _at_metre(self, character: str) -> bool:
        return self._header(character, self.metres, "key", "K:")

    def _at_key(self, character: str) -> bool:
        return self._header(character, self.keys, "form", "% ")

    def _header(self, character: str, known: Iterable[str], then: str, mark: str) -> bool:
        if character == "\n" and self.line in known:
            if self.at == "metre":
                read = metre(self.line)
                self.whole, self.ratio = eighths(read), tuplet(3, read)
            else:
                self.key = Key.of(self.line)
            self.at, self.line, self.forced = then, "", mark
            return True
        self.line += character
        return any(each.startswith(self.line) for each in known)

    def _at_form(self, character: str) -> bool:
        if character == "\n" and self.line and (not self.form or self.line == self.form):
            self.plan = parts(self.line)
            self.number = 0
            self.need: Fraction | None = None  # the length of the next section's first bar
            self.last: tuple[int, ...] = ()  # the notes before, WINDOW − 1 at most
            self.kept: dict[str, str] = {}  # the bars of sections that come again
            self.held = False
            self._begin()
            return True
        self.line += character
        if self.form:
            return self.form.startswith(self.line)
        known = "".join(sorted({*self.line[:-1]}))
        return len(self.line) <= 8 and character in {*known, chr(ord("A") + len(known))}

    # Sections

    def _begin(self) -> None:
        """A section begins, or nothing more."""
        self.at = "section"
        self.repeats = False  # its mark is written
        self.begins: Fraction | None = None  # the length of its first bar
        self.time = Fraction(0)  # of the bars that are over; in an ending, with those before both endings
        self.body = Fraction(0)  # before both endings
        self.ending = 0
        self.text = ""  # of its bars
        self._bar()
        if self.number < len(self.plan) and (part := self.plan[self.number]).again:
            self.at = "again"
            self.forced = f"|: {self.kept[part.letter]}:|\n" if part.repeated else f"{self.kept[part.letter]}||\n"

    def _over(self) -> bool:
        self.number += 1
        self._begin()
        return True

    def _bar(self) -> None:
        """A bar begins."""
        self.sung = Fraction(0)
        self.said: dict[int, int] = {}
        self.group, self.same = 0, ""  # notes of a triplet that are to come, and their length
        self.open = False  # a symbol or a triplet waits for its note
        self.symbol = self.sign = self.length = ""
        self.pitches, self.top = 0, -1

    def _at_section(self, character: str) -> bool:
        if self.number == len(self.plan):
            return False
        part = self.plan[self.number]
        if character == "|" and part.repeated:
            self.forced, self.at, self.repeats = ": ", "item", True
            return True
        # Before a repeat stands an upbeat or nothing, and what comes again has none.
        upbeat = self.number == 0 and not part.later and self.whole > Fraction(1, 4)
        return (not part.repeated or upbeat) and self._at_item(character)

    # Bars

    @property
    def left(self) -> Fraction:
        """How much of the bar is not written yet."""
        room = min(self.whole, self.most * self.whole - self.time)
        if self.begins is None:
            if self.need is not None:
                room = self.need
            elif self.number < len(self.plan) and self.plan[self.number].repeated and not self.repeats:
                room = self.whole - Fraction(1, 4)  # an upbeat
        return room - self.sung

    def _at_item(self, character: str) -> bool:
        if self.left > 0 and self._begins_note(character):
            return True
        return not self.open and not self.group and self.sung > 0 and self._close(character)

    def _begins_note(self, character: str) -> bool:
        """Whether a note, or what belongs to it, begins here."""
        if character == '"' and not self.symbol and not self.group:
            self.at, self.open = "symbol", True
        elif (
            character == "("
            and not self.group
            and any(3 * LENGTHS[each] * self.ratio <= self.left for each in OF_TRIPLETS)
        ):
            self.forced, self.at, self.open = "3", "item", True
            self.group, self.same = 3, "?"
        elif character == "[" and not self.pitches:
            self.at, self.pitches, self.top = "pitch", 1, -1
        elif character == "z":
            self.at, self.pitches, self.length, self.held = "length", 0, "", False
        else:
            self.pitches, self.top = 0, -1
            return self._at_pitch(character)
        self._write(character if character != "(" else "(3")
        return True

    def _write(self, text: str) -> None:
        self.text += text

    def _at_symbol(self, character: str) -> bool:
        self._write(character)
        if character == '"':
            self.at = "item"
            return bool(_WHOLE_SYMBOL.fullmatch(self.symbol))
        self.symbol += character
        return bool(_SYMBOL.fullmatch(self.symbol))

    def _at_pitch(self, character: str) -> bool:
        """An accidental or a letter; behind a letter of a chord also its end."""
        if self.sign + character in ACCIDENTALS and self.pitches < 6:
            self.sign, self.at = self.sign + character, "pitch"
        elif character == "]" and self.pitches > 2 and not self.sign:
            self.at, self.length = "length", ""
            self._sounded()
        elif character.upper() in LETTERS and self.pitches < 6:
            step = LETTERS.index(character.upper()) + 7 * character.islower()
            alter = ACCIDENTALS[self.sign]
            if alter is None:
                alter = self.said.get(step % 7, self.key.alter(step))
            self.pitch, self.at = Pitch(step, alter), "octave"
            if self._copies(self.pitch):
                return False
        else:
            return False
        self._write(character)
        return True

    def _at_octave(self, character: str) -> bool:
        """What moves a letter by octaves, or what comes behind it."""
        up = character == "'" and self.pitch.step in range(7, 14)
        if up or (character == "," and -7 <= self.pitch.step < 7):
            self.pitch = Pitch(self.pitch.step + (7 if up else -7), self.pitch.alter)
            self._write(character)
            return not self._copies(self.pitch)
        self.said = {**self.said, self.pitch.step % 7: self.pitch.alter}
        self.top, self.sign = max(self.top, self.pitch.midi), ""
        if self.pitches:
            self.pitches, self.at = self.pitches + 1, "pitch"
            return self._at_pitch(character)
        self.at, self.length = "length", ""
        self._sounded()
        return self._at_length(character)

    def _copies(self, pitch: Pitch) -> bool:
        """Whether a run of notes would be that of a training tune."""
        if self.windows is None or self.held or self.start:
            return False
        return known((*self.last, max(self.top, pitch.midi)), self.windows)

    def _sounded(self) -> None:
        if not self.held:
            self.last = (*self.last, self.top)[1 - WINDOW :]
        self.held = False

    def _lasts(self, length: str) -> bool:
        """Whether the note fits with this length."""
        if not self.group:
            return LENGTHS[length] <= self.left
        if self.same != "?":
            return length == self.same
        return length in OF_TRIPLETS and 3 * LENGTHS[length] * self.ratio <= self.left

    def _at_length(self, character: str) -> bool:
        if any(self._lasts(each) for each in GOING_ON.get(self.length + character, ())):
            self.length += character
            self._write(character)
            return True
        if self.length not in LENGTHS or not self._lasts(self.length):
            return False
        self.sung += LENGTHS[self.length] * (self.ratio if self.group else 1)
        self.same = self.length if self.group > 1 else ""
        self.group = max(0, self.group - 1)
        self.at, self.open, self.symbol, self.pitches = "item", False, "", 0
        if character == "-" and self.top >= 0:
            self.held = True
            self._write(character)
            return True
        return self._at_item(character)

    def _close(self, character: str) -> bool:
        """The end of a bar."""
        part = self.plan[self.number]
        whole = self.sung == self.whole
        first = self.begins is None
        fits = self.sung == self.need if first and self.need is not None else whole or first
        before = part.repeated and not self.repeats
        time = self.time + self.sung
        begins = self.sung if self.begins is None else self.begins
        # The last bar makes the first one whole where it follows; where it does not, it may be a whole one itself.
        once = (not part.repeated or self.ending == 2) and not any(each.again for each in self.plan)
        last = self.sung == self.whole - begins or (whole and (begins == self.whole or once))
        last = last and (not first or whole) and (not self.exact or time == self.most * self.whole)
        if character == " ":
            if not (before and first and fits):
                return False
            self.forced, self.at, self.repeats, self.need = "|: ", "item", True, self.whole
            self.text = ""
            self._bar()
            return True
        if before:
            return False
        if character == ":" and last and part.repeated and self.ending < 2:
            self.at = "repeat"
            return True
        inner = fits and time < self.most * self.whole
        if character == "|" and (inner or (last and (not part.repeated or self.ending == 2))):
            self.inner, self.last_bar = inner, last and (not part.repeated or self.ending == 2)
            self.at = "line"
            return True
        return False

    def _at_line(self, character: str) -> bool:
        """Behind the line at the end of a bar."""
        if character == " " and self.inner:
            self._next()
            self._write("| ")
            self.at = "bar"
            return True
        if character == "|" and self.last_bar:
            return self._end("\n")
        return False

    def _at_bar(self, character: str) -> bool:
        """At the beginning of a bar that is not the first."""
        part = self.plan[self.number]
        if character == "[":
            endings = part.repeated and not part.later and not self.ending
            self.at = "bracket1" if endings else "bracket"
            return True
        self.at = "item"
        return self._at_item(character)

    def _at_bracket1(self, character: str) -> bool:
        if character == "1":
            self.body, self.ending, self.forced, self.at = self.time, 1, " ", "item"
            return True
        return self._at_bracket(character)

    def _at_bracket(self, character: str) -> bool:
        self.at = "item"
        return self._begins_note("[") and self._at_pitch(character)

    def _at_repeat(self, character: str) -> bool:
        """Behind the colon that repeats."""
        if character != "|":
            return False
        if self.ending == 1:
            self.forced, self.at, self.ending, self.time = " [2 ", "item", 2, self.body
            self._bar()
            return True
        return self._end("\n")

    def _next(self) -> None:
        """The bar is over, and another one of the section begins."""
        if self.begins is None:
            self.begins = self.sung
        self.time += self.sung
        self._bar()

    def _end(self, mark: str) -> bool:
        part = self.plan[self.number]
        self.need = self.whole if self.sung == self.whole else self.whole - self.sung
        if part.later and not part.again:
            self.kept = {**self.kept, part.letter: self.text}
        self.forced, self.at = mark, "again"
        return True


def _metre(text: str) -> str:
    beats, unit = metre(text)
    return f"{beats}/{unit}"


@final
class Header:
    """A header of metre, key and form, behind which anything may come."""

    def __init__(self, metre: str, key: str, form: str) -> None:
        self.rest = f"M:{_metre(metre)}\nK:{Key.of(key)}\n% {form}\n"

    def ends(self) -> bool:
        """Whether the text may end here."""
        return not self.rest

    def fits(self, text: str) -> bool:
        """Whether it may go on so."""
        return bool(text) and (not self.rest or self.rest.startswith(text))

    def take(self, text: str) -> None:
        """Goes on so."""
        self.rest = self.rest[len(text) :]
