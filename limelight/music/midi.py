"""Music as MIDI files, by mido: a tune with its repeats and the chords that accompany it, or a chorale."""

import io
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby
from typing import Any

from limelight.errors import RequestError
from limelight.music.chorale import Chorale
from limelight.music.tune import LETTERS, NATURAL, Tune

TICKS = 480  # of a quarter
LOUD, SOFT = 90, 56  # velocities of a melody and of chords
PIANO = 0

Sound = tuple[Fraction, Fraction, tuple[int, ...]]
"""When something sounds, in eighths, for how long, and which keys."""

QUALITIES = (
    ("maj7", (0, 4, 7, 11)),
    ("m7", (0, 3, 7, 10)),
    ("m6", (0, 3, 7, 9)),
    ("m", (0, 3, 7)),
    ("dim", (0, 3, 6)),
    ("d", (0, 3, 6)),
    ("aug", (0, 4, 8)),
    ("a", (0, 4, 8)),
    ("7", (0, 4, 7, 10)),
    ("6", (0, 4, 7, 9)),
    ("", (0, 4, 7)),
)
"""How chord symbols begin behind their root, and the semitones above it."""


def write(piece: Tune | Chorale, beats: int = 120) -> bytes:
    """A MIDI file of type 1. beats: quarters in a minute. Raises RequestError where mido is not installed."""
    mido = library()
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    front = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(beats))])
    file.tracks.append(front)
    if isinstance(piece, Tune):
        front.append(mido.MetaMessage("time_signature", numerator=piece.metre[0], denominator=piece.metre[1]))
        tracks = [(melody(piece), LOUD), (chords(piece), SOFT)]
    else:
        tracks = [(steps(piece), LOUD)]
    for channel, (sounds, velocity) in enumerate(tracks):
        file.tracks.append(_track(mido, sounds, channel, velocity))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def library() -> Any:
    """mido. Raises RequestError where it is not installed."""
    try:
        import mido
    except ImportError:
        raise RequestError("MIDI files are written by mido; install it with: pip install 'limelight[music]'") from None
    return mido


def melody(tune: Tune) -> list[Sound]:
    """What sounds of a tune, with its repeats; a tied note is one with the next of its pitch."""
    sounds: list[Sound] = []
    at, held = Fraction(0), False
    for section in tune.sections:
        for bars in section.times():
            for note in (note for bar in bars for note in bar):
                keys = tuple(sorted(pitch.midi for pitch in note.pitches))
                if keys and held and sounds[-1][2] == keys:
                    begun, length, _ = sounds[-1]
                    sounds[-1] = (begun, length + note.sounds, keys)
                elif keys:
                    sounds.append((at, note.sounds, keys))
                held = note.tied and bool(keys)
                at += note.sounds
    return sounds


def chords(tune: Tune) -> list[Sound]:
    """The chords that accompany a tune, each until the next one."""
    begun: list[tuple[Fraction, str]] = []
    at = Fraction(0)
    for section in tune.sections:
        for bars in section.times():
            for note in (note for bar in bars for note in bar):
                if note.symbol:
                    begun.append((at, note.symbol))
                at += note.sounds
    ends = [*(begins for begins, _ in begun[1:]), at]
    return [(begins, end - begins, chord(symbol)) for (begins, symbol), end in zip(begun, ends, strict=False)]


def chord(symbol: str) -> tuple[int, ...]:
    """The keys of a chord symbol such as "F#m7/E", below middle C."""
    name, _, bass = symbol.partition("/")
    match = re.match("[A-G][#b]?", name)
    if match is None:
        return ()
    root = _class(match[0])
    kind = next(steps for begin, steps in QUALITIES if name[match.end() :].startswith(begin))
    keys = {48 + (root + step) % 12 for step in kind}
    return tuple(sorted({36 + (_class(bass) if re.match("[A-G]", bass) else root), *keys}))


def steps(chorale: Chorale) -> list[Sound]:
    """What sounds of a chorale, whose steps are quarters; a note that goes on is not struck again."""
    sounds: list[Sound] = []
    for note in sorted({note for step in chorale for note in step}):
        at = 0
        for there, run in groupby(chorale, lambda step, note=note: note in step):  # type: ignore[misc]
            length = len(list(run))
            if there:
                sounds.append((Fraction(2 * at), Fraction(2 * length), (note,)))
            at += length
    return sorted(sounds)


def _class(name: str) -> int:
    return (NATURAL[LETTERS.index(name[0])] + name[1:2].count("#") - name[1:2].count("b")) % 12


def _track(mido: Any, sounds: list[Sound], channel: int, velocity: int) -> Any:
    def events() -> Iterator[tuple[int, int, str, int]]:
        for at, length, keys in sounds:
            for key in keys:
                yield round((at + length) * TICKS / 2), 0, "note_off", key
                yield round(at * TICKS / 2), 1, "note_on", key

    track = mido.MidiTrack([mido.Message("program_change", program=PIANO, channel=channel)])
    now = 0
    for tick, _, kind, key in sorted(events()):
        track.append(mido.Message(kind, note=key, velocity=velocity, time=tick - now, channel=channel))
        now = tick
    return track
