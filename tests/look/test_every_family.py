"""Whatever opens can be looked into: the usual way to find words, under a model of each family."""

from pathlib import Path

import pytest
from references import CONFIGS, ENCODERS, SEQ2SEQ, saved, write_marked_tokenizer

import limelight

DECODERS = [name for name in CONFIGS if "-" not in name]
TRANSLATORS = [name for name in SEQ2SEQ if "-" not in name]
HEADS = {"masked": 3, "classes": 2, "tokens": 2, "states": 2}
"""What an encoder's head reads here, in words. Spans are asked for with a question: tests/look/test_encoders.py."""
READERS = [name for name in ENCODERS if name.startswith(("bert-", "deberta-v2-")) and name.rpartition("-")[2] in HEADS]
READERS += [f"{name}-masked" for name in ("roberta", "xlm-roberta", "distilbert", "albert", "mpnet", "modernbert")]
READERS += ["deberta-masked", "electra-generator"]


@pytest.mark.parametrize("name", [*DECODERS, *READERS, *TRANSLATORS])
def test_words_are_measured(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path)
    if name in ENCODERS:
        write_marked_tokenizer(tmp_path)
    model = limelight.open(tmp_path)
    match model:
        case limelight.Embedder():
            found = model.look("w10 w11").importance("w20 w12", check=False)
        case limelight.MaskedModel():
            found = model.look("w10 w11 [MASK]").importance(check=False)
        case limelight.Translator():
            found = model.look("w10 w11", "w20").importance(check=False)
        case _:
            found = model.look("w10 w11").importance(check=False)
    numbers = [heard.importance for heard in found.words if heard.importance is not None]
    assert numbers
    assert any(number != 0 for number in numbers)
