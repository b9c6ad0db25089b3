"""Parts of views that are the same for every kind of text."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from limelight.decode import Sampling
from limelight.decode.processors import History, Temperature, Text
from limelight.look import METHODS, Importance
from limelight.look.next_word import END
from limelight.look.wording import hangs, quoted
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word
from limelight.views.numbers import Numbers


def last(words: Sequence[Word], text: str | None) -> int:
    """The last place among `words` of one that is spelled like that, or of any if there is none or text is None."""
    places = [place for place, word in enumerate(words) if word.text == text]
    return places[-1] if places else len(words) - 1


def listed(text: str, words: Sequence[Word], tokens: Sequence[int], tokenizer: Tokenizer) -> Numbers:
    """A text cut into words, with what stands between them and the tokens of each."""
    at, found = 0, []
    for word in words:
        pieces = [tokenizer.token(tokens[i]) for i in word.tokens]
        found.append({"gap": text[at : word.start], "text": word.text, "tokens": pieces})
        at = word.end
    return {"words": found, "tail": text[at:], "count": len(tokens)}


def likely(logits: Tensor, own: int | None, tokenizer: Tokenizer, sampling: Sampling, n: int) -> Numbers:
    """The n likeliest tokens by logits [1, V]: what the model thinks, and what some settings leave of it.

    share: the probability by the model itself. kept: the probability by which it would be drawn, 0 if it is cut. cut:
    the name of the setting that cut it. asked: the place in the list of the token `own`, which is put behind the
    others if it is not among them, with its rank.
    """
    shares = logits.softmax(-1)[0]
    kept, cuts = _drawn(logits, sampling)
    ids: list[int] = shares.topk(min(n, len(shares))).indices.tolist()
    if own is not None and own not in ids:
        ids.append(own)
    rows = [
        {
            "token": spelled(id, tokenizer),
            "share": float(shares[id]),
            "kept": float(kept[id]),
            "cut": next((name for name, gone in cuts.items() if gone[id]), None),
            "rank": int((shares > shares[id]).sum()) + 1,
        }
        for id in ids
    ]
    return {"rows": rows, "asked": None if own is None else ids.index(own), "left": int((kept > 0).sum())}


def spelled(id: int, tokenizer: Tokenizer) -> str:
    """A token as people read it: of one that only steers the model, that the text ends there."""
    return END if id in tokenizer.controls else tokenizer.spell(id)


def told(found: Importance) -> Numbers:
    """An answer as numbers, and in sentences.

    values: of each word in front of the one in question, None where it was not measured. told: the sentences, each a
    list of texts and of words, {"word": place, "text"}: first what was said and what it hangs on, then the check.
    """
    method = METHODS[found.method]
    return {
        "word": len(found.words),
        "method": found.method,
        "kind": method.kind,
        "answers": method.answers,
        "unit": found.unit,
        "answer_unit": found.answer_unit,
        "values": [heard.importance for heard in found.words],
        "asks": next((place for place, heard in enumerate(found.words) if heard.asks), None),
        "named": list(found.named),
        "losses": dict(found.losses),
        "times": found.times,
        "told": [_linked(sentence, found) for sentence in found.told()],
        "probability": math.exp(found.logprob),
        "rank": found.rank,
        "expected": found.expected,
        "foil": found.foil,
        "check": _check(found),
    }


def _linked(sentence: str, found: Importance) -> list[str | Numbers]:
    """A sentence of the answer; in the one that names words, each as a word of its own."""
    if sentence != hangs(found):
        return [sentence]
    parts: list[str | Numbers] = []
    for place in found.named:
        word = found.words[place].word
        before, name, sentence = sentence.partition(quoted(word))
        parts += [before, {"word": place, "text": name}]
    return [*parts, sentence]


def _check(found: Importance) -> Numbers | None:
    check = found.check
    if check is None:
        return None
    return {
        "words": list(check.words),
        "way": check.way,
        "loss": check.loss,
        "sets": check.sets,
        "every": check.every,
        "better": check.better,
        "holds": check.holds,
        "short": check.short,
    }


def _drawn(logits: Tensor, sampling: Sampling) -> tuple[Tensor, dict[str, Tensor]]:
    """The probabilities [V] by which tokens would be drawn, and for each setting which tokens [V] it cuts."""
    cuts: dict[str, Tensor] = {}
    history = History([Text([], 0)])
    if sampling.temperature == 0:
        scores = logits.masked_fill(logits < logits.amax(-1, keepdim=True), -torch.inf)
        return scores.softmax(-1)[0], {"temperature": torch.isinf(scores[0])}
    scores = logits
    for processor in sampling.processors:
        before, scores = scores, processor(scores, history)
        if not isinstance(processor, Temperature):
            cuts[_NAMES[type(processor).__name__]] = torch.isinf(scores[0]) & ~torch.isinf(before[0])
    return scores.softmax(-1)[0], cuts


_NAMES = {"TopK": "top-k", "TopP": "top-p"}
