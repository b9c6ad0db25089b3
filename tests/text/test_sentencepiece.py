"""SentencePiece's own files against the library, and the folders of translators that hold them against transformers."""

import io
import json
from pathlib import Path

import pytest
import sentencepiece as spm
import transformers

from limelight.errors import TextError
from limelight.text import sentencepiece
from limelight.text.tokenizer import Tokenizer

WORDS = [word for word in Path(__file__).read_text("utf-8").split() if "<" not in word]
CORPUS = [" ".join(WORDS[at : at + 9]) for at in range(0, len(WORDS), 3)]
CORPUS += [
    f"Der {a} läuft über die {b}straße, naïve café № {i}" for i, a in enumerate(WORDS[:80]) for b in ("Berg", "See")
]
TEXTS = [
    "the text is cut as the library cuts it",
    "  two   spaces,  and more at the end   ",
    "Der Hund läuft über die Bergstraße №7, ﬁnally ½",
    "unknown 漢字 and 🙂🙂 signs",
    "",
    "ﬃ Ⅷ\u00a0x\u3000y",
    "▁ already there",
]


def trained(path: Path, kind: str, **options: object) -> Path:
    made = io.BytesIO()
    options = {"vocab_size": 300, "minloglevel": 2, **options}
    spm.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=made, model_type=kind, **options)
    path.write_bytes(made.getvalue())
    return path


@pytest.mark.parametrize("options", [{}, {"byte_fallback": True, "vocab_size": 450}, {"add_dummy_prefix": False}])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_texts_are_cut_as_the_library_cuts_them(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    path = trained(tmp_path / "m.spm", kind, **options)
    theirs, ours = spm.SentencePieceProcessor(model_file=str(path)), sentencepiece.build(sentencepiece.read(path))
    for text in [*TEXTS, *CORPUS[::7]]:
        expected = theirs.encode(text)
        assert ours.encode(text).ids == expected, text
        if theirs.unk_id() not in expected:
            assert ours.decode(expected) == theirs.decode(expected)
    assert ours.get_vocab_size() == theirs.get_piece_size()


@pytest.fixture
def marian(tmp_path: Path) -> Path:
    """A folder as MarianTokenizer has it: two models, and a vocabulary of both in an order of its own, which lacks some
    of their pieces."""
    pieces = set()
    for side, kind in (("source", "unigram"), ("target", "bpe")):
        path = trained(tmp_path / f"{side}.spm", kind)
        model = spm.SentencePieceProcessor(model_file=str(path))
        pieces |= {model.id_to_piece(id) for id in range(3, model.get_piece_size())}
    kept = sorted(pieces)
    del kept[5:60:9]
    listed = ["</s>", "<unk>", ">>fra<<", ">>deu<<", *reversed(kept), "<pad>"]
    (tmp_path / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(listed)}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer"}))
    return tmp_path


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
def test_a_marian_folder_is_read_as_transformers_reads_it(marian: Path) -> None:
    theirs = transformers.MarianTokenizer.from_pretrained(marian)
    source, target = Tokenizer.from_folder(marian, source=True), Tokenizer.from_folder(marian)
    texts = [text for text in [*TEXTS, *CORPUS[::7]] if text]
    unknown = 0
    for text in texts:
        expected = theirs(text).input_ids
        unknown += expected.count(theirs.unk_token_id)
        assert [*source.encode(text).ids, *source.suffix] == expected, text
        assert [*target.encode(text).ids, *target.suffix] == theirs(text_target=text).input_ids, text
    assert unknown > 10
    known = target.encode("the library cuts").ids
    assert target.decode(known) == theirs.decode(known) == "the library cuts"
    assert source.eos == target.eos == {0}
    assert target.pad == theirs.pad_token_id


def test_it_is_the_same_once_it_was_saved(marian: Path, tmp_path: Path) -> None:
    before = Tokenizer.from_folder(marian, source=True)
    before.save(tmp_path / "saved")
    again = Tokenizer.from_folder(tmp_path / "saved")
    assert [again.encode(text).ids for text in TEXTS] == [before.encode(text).ids for text in TEXTS]
    assert again.controls == before.controls


def test_an_m2m_100_folder_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    path = trained(tmp_path / "sentencepiece.bpe.model", "bpe")
    model = spm.SentencePieceProcessor(model_file=str(path))
    listed = ["<s>", "<pad>", "</s>", "<unk>", *(model.id_to_piece(id) for id in range(250, 2, -1))]
    (tmp_path / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(listed)}))
    theirs = transformers.M2M100Tokenizer(str(tmp_path / "vocab.json"), str(path), src_lang="fr")
    theirs.save_pretrained(tmp_path)
    ours = Tokenizer.from_folder(tmp_path)
    for text in [text for text in [*TEXTS, *CORPUS[::7]] if text]:
        assert [*ours.prefix, *ours.encode(text).ids, *ours.suffix] == theirs(text).input_ids, text
    assert [ours.token(id) for id in ours.prefix] == ["__fr__"]
    assert ours.id("__zu__") == theirs.convert_tokens_to_ids("__zu__")


def spoilt(path: Path, change: object) -> Path:
    data = path.read_bytes()
    other = path.with_name("spoilt.spm")
    other.write_bytes(change(data))  # type: ignore[operator]
    return other


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-7],
        lambda data: b"",
        lambda data: b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + data,
        lambda data: b"\x0b" + data,
        lambda data: b"\x0a\x03\x0a\x01\xff" + data,  # no UTF-8
        lambda data: b"\x0a\x00" + data,  # a piece without a spelling
        lambda data: b"\x0a\x03\x0a\x01a\x0a\x03\x0a\x01a" + data,  # twice the same
        lambda data: data + b"\x12\x02\x18\x03",  # a model of words
        lambda data: data + b"\x80" * 20,
        lambda data: b"GGUF" * 100,
    ],
)
def test_damaged_files_are_refused_by_name(change: object, tmp_path: Path) -> None:
    path = spoilt(trained(tmp_path / "m.spm", "unigram"), change)
    with pytest.raises(TextError, match=r"SentencePiece model .*spoilt\.spm"):
        sentencepiece.build(sentencepiece.read(path))


def test_a_vocabulary_must_number_its_pieces(marian: Path) -> None:
    (marian / "vocab.json").write_text(json.dumps({"</s>": 0, "<unk>": 1, "a": "2"}))
    with pytest.raises(TextError, match=r"vocab\.json is damaged: the number of the piece 'a' is none"):
        Tokenizer.from_folder(marian)
    (marian / "vocab.json").write_text(json.dumps({"</s>": 0, "<unk>": 1, "a": 7}))
    with pytest.raises(TextError, match="are not those from 0 to"):
        Tokenizer.from_folder(marian)
