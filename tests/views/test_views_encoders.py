"""Which word a page asks about of what an encoder reads."""

from pathlib import Path

import pytest
from references import saved, write_marked_tokenizer

import limelight
from limelight.views.encoded import EncodedViews


@pytest.mark.parametrize("name", ["bert-tokens", "bert-masked", "bert-classes"])
def test_a_word_is_found_again_by_its_text(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path)
    write_marked_tokenizer(tmp_path)
    model = limelight.open(tmp_path, kind=limelight.EncoderModel)
    views = EncodedViews(model.network, model.tokenizer, "w10 w11 w10 w12 w13")
    if name == "bert-classes":  # which answers of the whole text, behind it
        assert views.last("w10") == views.asked == 5
    else:
        assert views.last("w10") == 2
        assert views.last("w11") == 1
        assert views.last("w99") == views.last() == views.asked
