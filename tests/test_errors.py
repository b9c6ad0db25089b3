"""What errors have in common."""

import pickle

import pytest

from limelight.errors import LONGEST, FileError, suggestion


def test_a_message_is_never_longer_than_one_reads() -> None:
    text = str(FileError(f"the file: the key {'x' * 100_000} is not known"))
    assert len(text) < LONGEST + 10
    assert text.startswith("the file: the key xx")
    assert text.endswith("xx is not known")
    assert str(pickle.loads(pickle.dumps(FileError("short")))) == "short"


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("smolm2", ["smollm2"], "smollm2"),
        ("cta", ["cat", "sat"], "cat"),
        ("model.layers.0.q_porj.weight", ["model.layers.0.q_proj.weight"], "model.layers.0.q_proj.weight"),
        ("x.tsv", ["x.tsv.gz"], "x.tsv.gz"),
        ("hidden_act", ["hidden_size"], None),
        ("mixtral", ["phi3", "mistrals"], None),
        ("llama", ["llama"], None),  # not what it is itself
        ("", ["a"], None),
        ("x" * 100_000, ["x" * 99_999], None),
    ],
)
def test_a_suggestion_is_made_for_a_slip_of_the_keyboard_alone(name: str, known: list[str], near: str | None) -> None:
    assert suggestion(name, known) == (f"; did you mean {near!r}?" if near else "")
