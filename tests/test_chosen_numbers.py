"""Numbers that are no detail: whoever changes one changes what the documentation's figures were measured with, what a
stranger's file may take, or what a client may count on."""

from importlib import import_module
from math import log

import pytest

MEASURED = {
    "look.check": {"MOST": 220, "CLEARLY": 2, "HOPELESS": 3, "ONE_IN": 20, "DELETED": 2 / 3},
    "look.context": {"WITHIN": 2},
    "look.decompose": {"ALTERNATIVES": 10},
    "look.gradients": {"STEPS": 20},
    "look.inquiry": {"REPLACEMENTS": 3, "MORE": 6, "AGAIN": 2},
    "look.links": {"TELLING": 0.1},
    "look.measured": {
        "ALL": 24,
        "PROPOSED": 12,
        "LONG": 256,
        "AT_ONCE": 8,
        "MOST": 3,
        "FOLLOWED": 3,
        "PARTNERS": 8,
        "EXTENDED": 2,
        "ADDS": log(2),
        "DECIDES": 3,
        "OUTWEIGHS": 3,
        "CERTAIN": 20,
    },
    "look.next_word": {"LONGEST": 16, "CLOSE": 0.5},
    "look.patch": {"SAME": 1e-4},
    "look.perturb": {"LONG": 200, "GROUP": 32, "REFINED": 4},
    "look.replacements": {"SEARCHED": 200, "NEARNESS": 8.0},
    "look.roles": {"HOLDS": 0.25, "PARKS": 0.5, "REPEATED": 25, "ROWS": 4},
    "look.wording": {"CERTAIN": 1e6, "LONG": 60},
    "train.batches": {"POOL": 1 << 17},
    "train.contrast": {"SCALE": 20.0},
    "train.examples": {"LOOKED_AT": 500},
    "train.gaps": {"LONGEST": 128, "SHARE": 0.15},
    "train.optim": {"MOMENTUM": 0.95},
    "train.prepare": {"HELD_OUT": 2000},
    "train.tokenizers": {"SAMPLE": 10_000_000},
}
"""By which words are named and checked, heads told, and models trained."""

STRANGERS = {
    "checkpoints.files": {"CONFIG_LIMIT": 4 << 20, "PARTS_LIMIT": 1024},
    "checkpoints.gguf": {
        "HEADER_LIMIT": 64 << 20,
        "VALUES_LIMIT": 4 << 20,
        "COUNT_LIMIT": 64 << 10,
        "DIMENSIONS_LIMIT": 4,
        "DEPTH_LIMIT": 4,
    },
    "checkpoints.marian": {"MOST": 16 << 10},
    "checkpoints.reader": {"INDEX_LIMIT": 32 << 20},
    "checkpoints.torchold": {"DIMENSIONS": 8, "LARGEST": 1 << 48, "EMPTY": 1 << 20},
    "checkpoints.torchzip": {"LIMIT": 2 << 20, "TUPLE_LIMIT": 20_000},
    "checkpoints.wheel": {"_SMALL": 16 << 20},
    "text.apart": {"MEMORY": 512 << 20, "SECONDS": 1.0, "PATIENCE": 60.0},
    "text.chat": {"_LONGEST_TEMPLATE": 1_000_000, "_LARGEST_INT": 10_000},
    "text.folder": {"_LARGEST_FILE": 256 << 20, "_MOST_IDS": 1 << 32, "_LONGEST_LINE": 2000},
    "text.foreign": {"_LONGEST": 8_000_000, "_MOST": 300},
    "text.kinds": {"LONGEST_VOCABULARY": 2_000_000, "_MOST_WORK": 100_000_000},
    "text.sentencepiece": {"_LARGEST": 64 << 20},
    "text.shortlist": {"_LARGEST": 256 << 20},
    "text.template": {"LONGEST": 10_000_000},
    "text.trial": {"_GROWTH": 100, "_AROUND": 1000, "_OWN": 200},
    "train.data": {"LINE_LIMIT": 16 << 20},
}
"""What is read of files, and how long their templates and rules may run."""

PROMISED = {
    "checkpoints.save": {"SHARD": 5_000_000_000},
    "serve.api.app": {"LARGEST": 32 << 20},
    "serve.api.bodies": {"LONGEST": 10_000_000, "TOP": 20},
    "serve.api.completions": {"LENGTH": 16},
    "serve.api.kept": {"AGE": 3600.0},
    "serve.api.run": {"DRAIN": 60},
    "serve.app": {"REPETITION": 1.1},
    "serve.choice": {"FLOOR": -9999.0},
    "serve.guard": {"LARGEST": 1 << 20},
    "serve.run": {"SECOND": 1.0},
    "serve.runner": {"STALLED": 60.0},
    "serve.steering": {"LIKELY": 8, "GOES_ON": 16},
    "serve.writing": {"SHOWN": 5},
    "views.frame": {"ROOM": 1 << 20, "NEAR": 10, "HEIGHT": 680},
    "views.inside": {"STRONGEST": 5},
    "views.saved": {"ROOM": 4 << 20, "PLACES": 200},
    "views.text": {"LONG": 200, "ESTIMATED": 12},
}
"""What servers and pages give, and for how long."""


@pytest.mark.parametrize("module", MEASURED | STRANGERS | PROMISED)
def test_these_numbers_are_what_they_were_chosen_to_be(module: str) -> None:
    found = import_module(f"limelight.{module}")
    expected = MEASURED.get(module) or STRANGERS.get(module) or PROMISED[module]
    assert {name: getattr(found, name) for name in expected} == expected
