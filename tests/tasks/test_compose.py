"""Models of music: what they learn from, what held-out pieces cost them, and that what they write is as was asked."""

import json
import math
from pathlib import Path

import mido
import pytest
import torch

from limelight import Model
from limelight import open as open_model
from limelight.cli import main
from limelight.decode import Sampling
from limelight.errors import FileError, RequestError
from limelight.models.api import Decoder
from limelight.music import abc, chorale, copies, midi
from limelight.tasks.compose import TRIES, About, Lawful, Wish, Written, compose
from limelight.tasks.evaluation import music
from limelight.tasks.learn import learn
from limelight.tasks.look_music import SeenTune
from limelight.tasks.pieces import read, texts
from limelight.train.tokenfile import TokenFile

TINY = {
    "model": "gpt-modern-tiny",
    "width": 16,
    "steps": 4,
    "batch_tokens": 512,
    "threads": 1,
    "every": 4,
    "average": 1,
}

TUNES = """X:1
M:6/8
L:1/8
K:G
D|"G"G2B dBG|"Am"c3 "D7"A2D|"G"GBd g2e|d2c B2:|
|:d|g2f ede|(3efg a2 a2g|"D7"fef def|"G"g3 g2:|

X:2
M:6/8
L:1/8
K:Am
|:A2c ecA|B3 ^G3|A2c e2c|[1 B3 A3:|[2 A3 A3||

X:3
M:6/8
L:1/8
K:D
A2d fdA|B2d A3||d2f a2f|gec d3||

X:4
M:6/8
K:D
V:1
A2d fdA|

X:5
M:6/8
L:1/8
K:D
A2d fdA|B2d A3||d2f a2f|gec d3||
"""

CHORALES = {
    "train": [[[48, 60, 64, 67], [50, 62, 65], [], [43, 59, 62, 67]], [[45, 57, 60, 64], [45, 57, 60, 64]]],
    "valid": [[[48, 60, 64, 67], [43, 59, 62, 67]]],
    "test": [[[48, 60, 64, 67], [48, 60, 64, 67], [41, 60]], [[43, 59]]],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runs of two tiny models, which have learned next to nothing."""
    place = tmp_path_factory.mktemp("music")
    (place / "tunes.abc").write_text(TUNES)
    (place / "chorales.json").write_text(json.dumps(CHORALES))
    learn({**TINY, "task": "compose", "train": [str(place / "tunes.abc")]}, place / "tunes")
    learn({**TINY, "task": "compose", "train": [str(place / "chorales.json")], "keys": 3}, place / "chorales")
    return {"tune": place / "tunes", "chorale": place / "chorales", "data": place}


def opened(folder: Path) -> tuple[Decoder, Model, About]:
    model = open_model(str(folder))
    assert isinstance(model, Model)
    return model.network, model, About.of(model.path)


def test_a_run_keeps_whole_tunes_apart_and_each_in_several_keys(folders: dict[str, Path]) -> None:
    _, model, about = opened(folders["tune"])
    pieces, said = read([str(folders["data"] / "tunes.abc")], "train")
    assert said == ("3 tunes; left out: 1 × it has several voices; tunes of one voice are read, 1 × there already",)
    train, valid = (TokenFile(folders["tune"] / "data" / name) for name in ("train", "valid"))
    decoded = {name: [model.decode(file[i]) for i in range(len(file))] for name, file in (("t", train), ("v", valid))}
    assert (len(decoded["t"]), len(decoded["v"])) == (2 * 6, 1)
    assert sorted(decoded["v"] + decoded["t"][::6]) == sorted(abc.write(piece) for piece in pieces)
    assert len({text.split("\n")[1] for text in decoded["t"][:6]}) == 6
    assert about.kind == "tune"
    assert list(about.windows) == list(copies.windows(piece.melody() for piece in pieces))


def test_chorales_are_read_by_their_parts(folders: dict[str, Path]) -> None:
    _, model, about = opened(folders["chorale"])
    train, valid = (TokenFile(folders["chorale"] / "data" / name) for name in ("train", "valid"))
    assert (len(train), len(valid), about.kind, len(about.windows)) == (6, 1, "chorale", 0)
    first = chorale.parse(model.decode(train[0]))
    assert first == tuple(map(tuple, CHORALES["train"][0]))
    assert chorale.parse(model.decode(train[1])) == chorale.transposed(first, 1)


def test_a_chorale_costs_what_its_notes_do_one_by_one(folders: dict[str, Path]) -> None:
    network, model, about = opened(folders["chorale"])
    pieces, _ = read([str(folders["data"] / "chorales.json")], "test")
    nats = 0.0
    for piece in pieces:
        ids = [model.tokenizer.bos or 0]
        for word in chorale.write(piece).split():  # type: ignore[arg-type]
            (id,) = model.tokenizer.encode(word).ids
            state = network.start(1, len(ids))
            logits = network.step(torch.tensor([ids]), state)[0, -1]
            nats -= float(logits.double().log_softmax(-1)[id])
            ids.append(id)
    found = music.cost(network, model.tokenizer, about, pieces)
    assert (found.pieces, found.units, found.left_out) == (2, 4, 0)
    assert found.value == pytest.approx(nats / 4, rel=1e-5)


def test_a_tune_costs_bits_for_each_character_and_its_end(folders: dict[str, Path]) -> None:
    network, model, about = opened(folders["tune"])
    pieces, _ = read([str(folders["data"] / "tunes.abc")], "test")
    text = next(texts(pieces[0]))
    ids = [model.tokenizer.bos or 0, *model.tokenizer.encode(text).ids, *model.tokenizer.eos]
    logits = network.step(torch.tensor([ids[:-1]]), network.start(1, len(ids)))[0].double().log_softmax(-1)
    bits = -float(logits[range(len(ids) - 1), ids[1:]].sum()) / math.log(2)
    found = music.cost(network, model.tokenizer, about, pieces[:1])
    assert (found.pieces, found.units) == (1, len(text))
    assert found.value == pytest.approx(bits / len(text), rel=1e-5)
    strange = abc.read("M:6/8\nK:Ebm\nz6||")
    assert music.cost(network, model.tokenizer, about, [*pieces, strange]).left_out in {0, 1}


def test_every_tune_of_a_model_that_knows_nothing_is_as_asked(folders: dict[str, Path]) -> None:
    network, model, about = opened(folders["tune"])
    wishes = [
        Wish("D", "6/8", "AABB", 1),
        Wish("G", "6/8", "ABA", 1),
        Wish(bars=1, form="AB"),
        Wish("Am", bars=1, form="AAB"),
    ]
    done = compose(network, model.tokenizer, about, wishes, Sampling(temperature=1.0, seed=1))
    kept = music.kept([(wishes[0], done[0])])
    assert (kept.parse, kept.bars, kept.metre, kept.form) == (1, 1, 1, 1)
    for wish, each in zip(wishes, done, strict=True):
        tune = each.piece
        assert isinstance(tune, abc.Tune)
        assert tune.adds_up()
        assert str(tune.key) == (wish.key or str(tune.key))
        assert len(tune.form) == len(wish.form)
    alone = compose(network, model.tokenizer, about, wishes[1:2], Sampling(temperature=1.0, seed=2))
    assert alone[0].text == done[1].text
    begun = compose(
        network,
        model.tokenizer,
        about,
        [Wish("D", "6/8", bars=1, start="|:D2F Ad2:|")],
        Sampling(temperature=1.0, seed=1),
    )
    assert begun[0].text.startswith("M:6/8\nK:D\n% AABB\n|: D2FAd2:|\n|: ")


def test_a_tune_that_leaves_its_key_is_written_again(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    network, model, about = opened(folders["tune"])
    judged: list[str] = []

    def third(tune: abc.Tune) -> bool:
        judged.append(abc.write(tune))
        return len(judged) == 3

    monkeypatch.setattr(abc.Tune, "keeps_key", third)
    wish, told = Wish("D", "6/8", "AB", 1), list[int]()
    (written,) = compose(network, model.tokenizer, about, [wish], Sampling(temperature=1.0, seed=1), wrote=told.append)
    assert len(set(judged)) == 3
    assert abc.write(written.piece) == judged[-1]
    compose(network, model.tokenizer, about, [Wish(bars=1, form="AB")], Sampling(temperature=1.0, seed=1))
    assert len(judged) == 3  # nobody asked for a key
    compose(network, model.tokenizer, about, [wish], Sampling(temperature=1.0, seed=1))
    assert len(judged) == 3 + TRIES  # none keeps it: the last is taken
    assert set(told) == {1}


def test_what_was_learned_is_not_copied_unless_told(folders: dict[str, Path]) -> None:
    network, model, about = opened(folders["tune"])
    known = abc.read(next(abc.tunes(TUNES))[1])
    text = "".join(abc.write(known).split("\n")[3:][:1])  # its first section
    start = text.removesuffix(":|") + "| "
    melody = known.melody()
    assert len(melody) > 17
    for copied in (True, False):
        wish = Wish("G", "6/8", "AABB", 4, start[: start.index("d2c")], copied)
        written = compose(network, model.tokenizer, about, [wish], Sampling(temperature=1.0, seed=3))[0].piece
        assert isinstance(written, abc.Tune)
        assert written.melody()[:14] == melody[:14]
        if not copied:
            begun = 14  # what the start itself copies is the asker's own
            assert not any(copies.known(written.melody()[:at], about.windows) for at in range(begun + 1, 60))


def test_a_tune_without_an_end_is_no_piece_and_spoils_no_others(folders: dict[str, Path]) -> None:
    whole = abc.write(abc.read(next(abc.tunes(TUNES))[1]))
    wish = Wish("G", "6/8", "AABB")
    done = [(wish, Written((), whole, "tune")), (wish, Written((), whole, "tune", ended=False))]
    with pytest.raises(RequestError, match="no end was found"):
        _ = done[1][1].piece
    kept = music.kept(done)
    assert (kept.tunes, kept.parse, kept.metre, kept.form) == (2, 0.5, 0.5, 0.5)


def test_a_chorale_rises_in_each_step_and_ends(folders: dict[str, Path]) -> None:
    network, model, about = opened(folders["chorale"])
    law = Lawful(
        chorale.Rising(), [model.tokenizer.spell(id) for id in range(model.tokenizer.vocab)], model.tokenizer.eos
    )
    (end,) = model.tokenizer.eos

    def able() -> set[str]:
        return {model.tokenizer.spell(id).strip() for id in law.mask().nonzero()[:, 0].tolist()}

    assert able() == {*map(str, range(21, 109)), "|"}
    law.accept(model.tokenizer.id("▁104"))
    assert able() == {"105", "106", "107", "108", "|"}
    law.accept(model.tokenizer.id("▁|"))
    assert able() == {*map(str, range(21, 109)), "|", model.tokenizer.spell(end)}
    with pytest.raises(RequestError, match="asked of tunes"):
        compose(network, model.tokenizer, about, [Wish(key="D")])


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(key="H"), "'H' is no key"),
        (Wish(metre="6"), "'6' is no metre"),
        (Wish(form="BA"), "is no form"),
        (Wish(bars=99), "bars is 99"),
        (Wish("D", "6/8", start="d7|"), "the bars would not add up"),
        (Wish("D", "6/8", start="d2@"), "a sign is not understood"),
        (Wish("EPhr"), "never met all signs of 'K:EPhr'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(folders: dict[str, Path], wish: Wish, said: str) -> None:
    network, model, about = opened(folders["tune"])
    with pytest.raises(RequestError, match=said):
        compose(network, model.tokenizer, about, [wish])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train": ["x.txt"]}, "no such file|music is read from"),
        ({"model": "smollm2", "train": ["a.abc"]}, "cannot learn to compose"),
        ({"lora": 4, "train": ["a.abc"]}, "leave out watch and lora"),
        ({}, "needs files to learn from"),
    ],
)
def test_a_training_that_makes_no_sense_is_refused(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises((RequestError, FileError), match=said):
        learn({"task": "compose", **options}, tmp_path / "run")


def test_a_model_of_words_or_a_damaged_one_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="did not learn to compose"):
        About.of(tmp_path)
    (tmp_path / "music.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(FileError, match="is damaged"):
        About.of(tmp_path)


def said(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    """What one command line ends with and prints."""
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


def test_the_commands_write_and_judge(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("compose", "--model", folders["tune"], "--key", "D", "--metre", "6/8", "--form", "AAB", "--bars", 1)
    code, out, _ = said(capsys, *asked, "--start", "|:D2F", "--seed", 1)
    assert code == 0
    assert out.startswith("X:1\nT:Tune 1\nM:6/8\nL:1/8\nK:D\n% AAB\n|: D2F")
    code, told, _ = said(capsys, *asked, "--count", 2, "--seed", 1, "--out", tmp_path / "two.abc")
    assert (code, told) == (0, f"{tmp_path / 'two.abc'} is written.\n")
    written = [abc.read(text) for _, text in abc.tunes((tmp_path / "two.abc").read_text())]
    assert [(tune.form, tune.adds_up()) for tune in written] == [("AAB", True)] * 2
    assert said(capsys, *asked, "--count", 2, "--seed", 1, "--out", tmp_path / "two.mid")[0] == 0
    for number, tune in enumerate(written, 1):
        file = mido.MidiFile(tmp_path / f"two-{number}.mid")
        struck = [each.note for each in file.tracks[1] if each.type == "note_on"]
        assert struck == [key for _, _, keys in midi.melody(tune) for key in keys]
    (tmp_path / "mine.abc").write_text("M:6/8\nL:1/8\nK:D\n|:D2F|")
    code, out, _ = said(
        capsys,
        "compose",
        "--model",
        folders["tune"],
        "--start",
        tmp_path / "mine.abc",
        "--bars",
        1,
        "--json",
        "--seed",
        1,
    )
    assert json.loads(out)["pieces"][0]["text"].startswith("M:6/8\nK:D\n% AABB\n|: D2F| ")
    data = folders["data"]
    code, out, _ = said(
        capsys, "eval", "compose", "--model", folders["chorale"], "--test", data / "chorales.json", "--json"
    )
    assert json.loads(out)["cost"]["units"] == 4
    code, out, _ = said(capsys, "eval", "compose", "--model", folders["tune"], "--test", data / "tunes.abc")
    assert "3 pieces of" in out
    assert "bits a character" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "x.wav"), "x.wav is neither .abc nor .mid; name the file by what it is to hold"),
        (("--key", "H"), "'H' is no key; keys are written as D, Am, F#m, Bb or EDor"),
        (("--form", "ba"), "'ba' is no form; forms are up to 16 letters such as AABB, one for the same notes"),
        (("--start", "none.abc"), "none.abc"),
    ],
)
def test_a_command_that_cannot_be_obeyed_gets_one_sentence(
    options: tuple[str, ...], message: str, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(capsys, "compose", "--model", folders["tune"], *options)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


def test_a_note_listens_to_what_stands_before_it(folders: dict[str, Path]) -> None:
    network, model, _ = opened(folders["tune"])
    tune = abc.read(next(text for number, text in abc.tunes(TUNES) if "K:Am" in text))
    seen = SeenTune(network, model.tokenizer, tune)
    assert [bar.word.text for bar in seen.bars] == ["A2cecA", "B3^G3", "A2ce2c", "B3A3", "A3A3"]
    assert [[note.text for note in bar.notes] for bar in seen.bars[:2]] == [["A2", "c", "e", "c", "A"], ["B3", "^G3"]]
    lost = seen.matrix()
    assert lost.shape == (15, 6)
    bars = [at for at, bar in enumerate(seen.bars, 1) for _ in bar.notes]
    for row, bar in zip(lost, bars, strict=True):
        assert row[bar:].abs().max() < 1e-4  # neither itself nor what comes later
    # One of them anew: the bar is hidden by a mask of our own.
    note, gone = seen.bars[2].notes[1], seen.parts[1].tokens
    ids = torch.tensor([seen.session.tokens])
    seeing = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    seeing[:, gone.stop :, gone.start : gone.stop] = False
    said = []
    for visible in (None, seeing):
        state = network.start(1, ids.shape[1])
        logits = network.step(ids, state, visible=visible).log_softmax(-1)[0]
        said.append(sum(float(logits[at - 1, ids[0, at]]) for at in note.tokens))
    assert float(lost[bars.index(3) + 1, 1]) == pytest.approx(said[0] - said[1], abs=1e-4)
    found = seen.importance(4)
    assert [each.word.split(":")[0] for each in found.words] == ["header", "bar 1", "bar 2", "bar 3"]
    assert found.by == "bar"
    for bar, note_number, message in (
        (9, None, "there is no bar 9; the tune has 5"),
        (1, 9, "there is no note 9 in bar 1"),
    ):
        with pytest.raises(RequestError, match=message):
            seen.importance(bar, note_number)


def test_the_page_of_a_tune_holds_all_that_it_shows(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.abc").write_text(TUNES)
    page = tmp_path / "one.html"
    asked = ("look", tmp_path / "one.abc", "--model", folders["tune"], "--bar", 3)
    code, out, _ = said(capsys, *asked, "--note", 2, "--html", page)
    assert code == 0
    assert "one.html opens in any browser" in " ".join(out.split())
    text = page.read_text()
    data = json.loads(text.split("const DATA = ")[1].split(";\nconst notes")[0])
    tune = abc.read(next(abc.tunes(TUNES))[1])
    notes = list(tune.notes())
    network, model, _ = opened(folders["tune"])
    matrix = SeenTune(network, model.tokenizer, tune).matrix()
    torch.testing.assert_close(torch.tensor(data["matrix"]), matrix, rtol=0, atol=1e-3)
    assert len(data["matrix"]) == len(data["places"]) == text.count("<g class=note") == len(notes)
    assert len(data["names"]) == 1 + len(data["told"]) == 1 + text.count("<rect class=bar")
    assert data["places"][data["first"]] == [3, 2]
    assert [sound[2] for sound in data["sounds"]] == [[p.midi for p in note.pitches] for note in notes if note.pitches]
    assert "://" not in text
    code, _, err = said(capsys, "look", "d2e", "--model", folders["tune"], "--bar", 1)
    assert (code, err.count("\n")) == (1, 1)
    assert said(capsys, "look", "x", "--model", folders["chorale"], "--bar", 1)[2].endswith("name a model of tunes\n")
