"""MIDI files, read back: pitches, times, repeats, chords."""

import io

import mido
import pytest
from tunes import JIG

from limelight.errors import FileError, RequestError
from limelight.music import abc, chorale, midi


def sounds(track: mido.MidiTrack) -> list[tuple[int, int, int]]:
    """When each key is struck, for how long, and which, in ticks."""
    now, down, found = 0, {}, []
    for message in track:
        now += message.time
        if message.type == "note_on":
            assert message.note not in down
            down[message.note] = now
        elif message.type == "note_off":
            begun = down.pop(message.note)
            found.append((begun, now - begun, message.note))
    assert not down
    return sorted(found)


def test_a_tune_sounds_with_its_repeats_and_chords() -> None:
    tune = abc.read('M:4/4\nL:1/8\nK:G\n|:"G"G2 F2- F4|[1 "D7/F#"A8:|[2 [Bd]4 z4||')
    file = mido.MidiFile(file=io.BytesIO(midi.write(tune)))
    _, melody, chords = file.tracks
    eighth = midi.TICKS // 2
    heard = [(at // eighth, length // eighth, key) for at, length, key in sounds(melody)]
    assert heard == [
        (0, 2, 67), (2, 6, 66), (8, 8, 69),
        (16, 2, 67), (18, 6, 66), (24, 4, 71), (24, 4, 74),
    ]  # fmt: skip
    bass = [(at // eighth, key % 12) for at, _, key in sounds(chords) if key < 48]
    assert bass == [(0, 7), (8, 6), (16, 7)]
    assert {key % 12 for at, _, key in sounds(chords) if at == 8 * eighth} == {2, 6, 9, 0}


def test_a_whole_tune_lasts_as_long_as_its_bars() -> None:
    tune = abc.read(JIG)
    last = max(at + length for at, length, _ in midi.melody(tune))
    assert last == sum(
        note.sounds for section in tune.sections for bars in section.times() for bar in bars for note in bar
    )


def test_a_chorale_holds_what_goes_on() -> None:
    piece = chorale.parse("48 60 64 67 | 48 62 65 67 | | 50 |")
    assert piece == ((48, 60, 64, 67), (48, 62, 65, 67), (), (50,))
    assert chorale.parse(chorale.write(piece)) == piece
    file = mido.MidiFile(file=io.BytesIO(midi.write(piece)))
    heard = [(at // midi.TICKS, length // midi.TICKS, key) for at, length, key in sounds(file.tracks[1])]
    assert heard == [(0, 1, 60), (0, 1, 64), (0, 2, 48), (0, 2, 67), (1, 1, 62), (1, 1, 65), (3, 1, 50)]


@pytest.mark.parametrize(("text", "said"), [("60 48 |", "'48' is no note here"), ("60 x |", "'x' is no note")])
def test_what_is_no_chorale_is_refused(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        chorale.parse(text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "not valid JSON"),
        ('{"test": [[[60]]]}', "no part 'train'"),
        ("[[60]]", "a chorale is a list of steps"),
        ("[[[60], [999]]]", "chorale 1, step 2"),
        ("[]", "no list of chorales"),
    ],
)
def test_a_file_of_something_else_is_refused(content: str, said: str) -> None:
    with pytest.raises(FileError, match=said):
        chorale.read(content, "x.json", "train")
