"""What `limelight look --json`, `--npz` and `--parquet` write: every number behind the pictures, under its own name."""

import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limelight.cli.screen import beside
from limelight.errors import RequestError
from limelight.models.config import Block, TransformerStack

if TYPE_CHECKING:
    from limelight import Model, Seen
    from limelight.look import Importance
    from limelight.look.session import Progress

Arrays = dict[str, np.ndarray[Any, Any]]
"""Arrays by name; `docs/notebook.md` says what each holds. What a model lacks has no array."""

MOST = 1 << 30
"""The most bytes that the attention of a text may take."""

NEXT = 50
LENS = 5


def fits(model: "Model", seen: "Seen") -> None:
    """Raises RequestError for a text whose attention would take more than `MOST` bytes."""
    size = 4 * sum(block.attention.heads for block in _blocks(model)) * len(seen.tokens) ** 2
    if size > MOST:
        raise RequestError(
            f"the attention of {len(seen.tokens):,} tokens takes {size / 2**30:.1f} GiB, more than {MOST >> 30}; "
            "shorten the text"
        )


def _blocks(model: "Model") -> Sequence[Block]:
    stack = model.config.decoder
    return stack.blocks if isinstance(stack, TransformerStack) and not stack.recurrent else ()


def numbers(model: "Model", given: "Seen", seen: "Seen", found: "Importance", progress: "Progress | None") -> Arrays:
    """All numbers about one answer: importance by word and by token, attention, next words, and the lens.

    given: the text. seen: the text with the word in question, which may be one that the model says next.
    """
    blocks, tokens = _blocks(model), seen.tokens
    asked = len(found.words)
    of = np.full(len(tokens), -1, np.int32)
    for place, word in enumerate(seen.words):
        of[word.tokens.start : word.tokens.stop] = place
    by_word, by_token = np.full(len(seen.words), np.nan, np.float32), np.full(len(tokens), np.nan, np.float32)
    by_word[:asked] = [np.nan if heard.importance is None else heard.importance for heard in found.words]
    measured = seen.token_importance(asked + 1, foil=found.foil, method=found.method, progress=progress)
    for place, value in measured.items():
        by_token[place] = value
    following = given.next_words(NEXT)
    arrays = {
        "model": np.array(model.name),
        "text": np.array(seen.text),
        "words": np.array([word.text for word in seen.words]),
        "word_characters": np.array([(word.start, word.end) for word in seen.words], np.int32),
        "tokens": np.array(tokens),
        "token_words": of,
        "given": np.array(len(given.tokens), np.int32),
        "asked": np.array(asked, np.int32),
        "logprob": np.array(found.logprob, np.float32),
        "rank": np.array(found.rank, np.int32),
        "expected": np.array(found.expected),
        "foil": np.array(found.foil or ""),
        "method": np.array(found.method),
        "unit": np.array(found.unit),
        "word_importance": by_word,
        "token_importance": by_token,
        "named": np.array(found.named, np.int32),
        "ways": np.array(list(found.losses), np.str_),
        "losses": np.array(list(found.losses.values()), np.float32),
        "next_tokens": np.array([token for token, _ in following]),
        "next_probabilities": np.array([share for _, share in following], np.float32),
    }
    if check := found.check:
        arrays |= {
            "check_sets": np.array(check.sets, np.int32),
            "check_every": np.array(check.every),
            "check_better": np.array(check.better, np.int32),
            "check_holds": np.array(check.holds),
        }
    if blocks:
        layers = seen.lens(asked + 1, LENS).layers
        tops = [[guess.top for guess in row] for row in layers]
        arrays |= {
            "attention": seen.every_attention().numpy(),
            "lens_tokens": np.array([[[token for token, _ in top] for top in row] for row in tops]),
            "lens_probabilities": np.array([[[share for _, share in top] for top in row] for row in tops], np.float32),
            "lens_ranks": np.array([[guess.rank for guess in row] for row in layers], np.int32),
            "lens_entropies": np.array([[guess.entropy for guess in row] for row in layers], np.float32),
        }
    return arrays


def npz(file: Path, arrays: Arrays) -> None:
    """Writes the arrays as NumPy does, compressed; none holds objects, which would be pickled. Raises FileError."""
    with beside(file) as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type] # NumPy's stub takes names for its options


def needs_pyarrow() -> None:
    """Raises RequestError where tables cannot be written."""
    if find_spec("pyarrow") is None:
        raise RequestError('tables are written by pyarrow; install it with: pip install "limelight[parquet]"')


def parquet(file: Path, arrays: Arrays) -> None:
    """Writes the numbers as one table with a row for each, and what they are about as JSON in its metadata.

    Columns: view (`_views` has their names), layer, head, place, other, text, value; place is what asks and other what
    is asked about, the text being the other's. Raises FileError.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    numbered = dict.fromkeys(("layer", "head", "place", "other"), pa.int32())
    types = {"view": pa.string(), **numbered, "text": pa.string(), "value": pa.float32()}
    about = {name: arrays[name].tolist() for name in ABOUT if name in arrays}
    schema = pa.schema(types, {"limelight": json.dumps(about)})
    with beside(file) as stream, ParquetWriter(stream, schema, compression="zstd") as writer:
        for view in _views(arrays):
            count = len(view["value"])
            columns = [
                pa.array(np.broadcast_to(view[name], count), type) if name in view else pa.nulls(count, type)
                for name, type in types.items()
            ]
            writer.write_table(pa.table(columns, schema=schema))


ABOUT = (
    *("model", "text", "words", "tokens", "given", "asked", "logprob", "rank", "expected", "foil", "method", "unit"),
    *("named", "ways", "losses", "check_sets", "check_every", "check_better", "check_holds"),
)
"""Arrays that describe a table as a whole."""


def _views(arrays: Arrays) -> Iterator[dict[str, Any]]:
    """The rows of a table, a few million at most at once: columns, where a single value stands in all of them."""
    words, tokens, asked = arrays["words"], arrays["tokens"], int(arrays["asked"])
    own = np.flatnonzero(arrays["token_words"] == asked)
    measured = np.flatnonzero(~np.isnan(by_token := arrays["token_importance"]))
    by_word = {"other": np.arange(asked), "text": words[:asked], "value": arrays["word_importance"][:asked]}
    yield {"view": "word importance", "place": asked, **by_word}
    heard = {"other": measured, "text": tokens[measured], "value": by_token[measured]}
    yield {"view": "token importance", "place": own[0], **heard}
    following = {"text": arrays["next_tokens"], "value": arrays["next_probabilities"]}
    yield {"view": "next", "place": int(arrays["given"]), **following}
    if "attention" not in arrays:
        return
    for layer, shares in enumerate(arrays["lens_probabilities"]):  # [n, k]
        said = {"text": arrays["lens_tokens"][layer].ravel(), "value": shares.ravel()}
        yield {"view": "lens", "layer": layer, "place": np.repeat(own, shares.shape[1]), **said}
    place, other = np.tril_indices(len(tokens))
    for layer, heads in enumerate(arrays["attention"]):
        for head, weights in enumerate(heads):  # [T, T]
            looks = {"place": place, "other": other, "text": tokens[other], "value": weights[place, other]}
            yield {"view": "attention", "layer": layer, "head": head, **looks}
