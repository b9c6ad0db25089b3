"""Do the words that mattered tell which word translates which? For a model that translates German and English."""

from dataclasses import replace

import torch

import limelight
from benchmarks.pictures import SHARED
from limelight.tasks.evaluation.alignment import Asking, Gold, align, error_rate, listening, read_gold
from limelight.tasks.look_translation import SeenTranslation

ALIGNED = SHARED / "align_de_en_small"


def alignment(folder: str, limit: int, swap: bool) -> dict[str, float]:
    """Alignment error rate by method, from 0 (right) to 1, on `limit` sentences of German and English.

    swap: for a model that translates from English. The attention is that of the layer that listens most to the words
    that mattered.
    """
    translator = limelight.open(folder)
    assert isinstance(translator, limelight.Translator)
    gold = read_gold(ALIGNED / "de-en.ref.wa", ALIGNED / "test.de", ALIGNED / "test.en")[:limit]
    if swap:
        gold = [replace(each, source=each.target, target=each.source, **_turned(each)) for each in gold]
    steps: dict[str, Asking] = {"attention, the word as input": "input", "attention, the word as output": "output"}
    found: dict[str, list[set[tuple[int, int]]]] = {}
    for each in gold:
        seen = translator.look(" ".join(each.source), " ".join(each.target))
        grid = seen.importances()
        for name, step in steps.items():
            layers = align(translator.network, translator.language, each.source, each.target, step)
            found.setdefault(name, []).append(layers[listening(seen.alignments(step), grid)[0]])
        found.setdefault("importance", []).append(_by_importance(seen, grid, each))
    return {name: error_rate(links, gold) for name, links in found.items()}


def _turned(gold: Gold) -> dict[str, frozenset[tuple[int, int]]]:
    return {name: frozenset((j, i) for i, j in getattr(gold, name)) for name in ("sure", "possible")}


def _by_importance(seen: SeenTranslation, grid: torch.Tensor, gold: Gold) -> set[tuple[int, int]]:
    """Each word of the translation with the source word that mattered most for it."""
    sides = [[place for place, word in enumerate(side) for _ in (*word, " ")] for side in (gold.source, gold.target)]
    best = [seen.source_words[place] for place in grid.argmax(-1).tolist()]
    return {(sides[0][heard.start], sides[1][word.start]) for heard, word in zip(best, seen.target_words, strict=True)}
