"""``limelight show``: what a model is made of, read off its file without reading its weights."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from rich.console import RenderableType

    from limelight.checkpoints.open import Contents


def show(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A short name, folder, file or hub id (org/name).", show_default=False),
    ],
    template: Annotated[bool, typer.Option("--template", help="Print the chat template instead.")] = False,
    json: o.Json = False,
) -> None:
    """Show what a model is made of, without reading its weights.

    Example:

      limelight show smollm2
      limelight show ./my-model --json
    """
    from limelight.cli import screen
    from limelight.errors import RequestError

    if template and json:
        raise o.Misused("--json holds the chat template already; leave out --template")
    with screen.progress(f"opening {model}", quiet=json) as tell:
        from limelight.checkpoints.open import contents
        from limelight.checkpoints.source import fetch, resolve

        found = contents(fetch(resolve(model), tell))
        parts = _parts(found)
    console = screen.stdout()
    written = found.tokenizer.template
    if template:
        if written is None:
            raise RequestError(f"{model} has no chat template: it continues text but was not made for conversation")
        screen.put(console, f"{written}\n")
    elif json:
        listed = [asdict(part) for part in parts.values()]
        screen.print_json({**_about(found, parts), "chat_template": written, "parts": listed})
    else:
        about = _about(found, parts)
        console.print(_facts(about, written is not None))
        console.print()
        console.print(_tree(parts))
        console.print("\nInside a repeated part, the numbers are those of one copy.", style="dim")


@dataclass(frozen=True)
class Part:
    """A tensor of the assembled model: its number type and bytes as the file keeps it. type: None for a tied one,
    which is kept elsewhere."""

    name: str
    shape: tuple[int, ...]
    type: str | None
    bytes: int

    @property
    def numbers(self) -> int:
        """How many numbers it holds of its own."""
        return 0 if self.type is None else prod(self.shape)


Parts = Mapping[str, Part]
"""Parts by what is left of their names."""


def _parts(found: "Contents") -> Parts:
    """Every tensor, in the model's order."""
    shapes = {name: tuple(weight.shape) for name, weight in found.network.state_dict().items()}
    stored: dict[str, tuple[str | None, int]] = {}
    for move in found.moves:
        size = sum(found.reader.nbytes(name) for name in move.theirs)
        whole = sum(prod(shapes[name]) for name in move.ours)
        for name in move.ours:  # tensors that the file keeps as one share its bytes
            stored[name] = found.reader.dtype(move.theirs[0]), size * prod(shapes[name]) // whole
    return {name: Part(name, shape, *stored.get(name, (None, 0))) for name, shape in shapes.items()}


def _about(found: "Contents", parts: Parts) -> dict[str, Any]:
    """What there is to say about the whole."""
    from limelight.models.config import TransformerStack

    config, tokenizer = found.config, found.tokenizer
    stack = config.decoder or config.encoder
    blocks = stack.blocks if isinstance(stack, TransformerStack) else ()
    kept = sum(b.attention.kv_heads * (b.attention.key_width + b.attention.head_width) for b in blocks)
    return {
        "path": str(found.path),
        "family": config.family,
        "parameters": sum(part.numbers for part in parts.values()),
        "bytes": sum(part.bytes for part in parts.values()),
        "layers": len(blocks),
        "width": config.width,
        "heads": blocks[0].attention.heads if blocks else None,
        "kv_heads": blocks[0].attention.kv_heads if blocks else None,
        "context": config.longest,
        "cache_bytes_per_token": None if config.decoder is None else {"float32": 4 * kept, "bfloat16": 2 * kept},
        "tokenizer": {
            "kind": _kind(found),
            "vocab": tokenizer.vocab,
            "special": [tokenizer.token(id) for id in sorted(tokenizer.controls)],
            "bos": None if tokenizer.bos is None else tokenizer.token(tokenizer.bos),
            "eos": [tokenizer.token(id) for id in sorted(tokenizer.eos)],
        },
    }


def _kind(found: "Contents") -> str:
    """How the tokenizer cuts text, as far as the model's files say it in words."""
    from limelight.checkpoints.files import read_json

    kinds = {"gpt2": "byte-level BPE", "llama": "SentencePiece with byte fallback"}
    if named := kinds.get(found.reader.metadata.get("tokenizer.ggml.model", "")):
        return named
    folder = found.path if found.path.is_dir() else found.path.parent
    config = folder / "tokenizer_config.json"
    return str(read_json(config, "").get("tokenizer_class", "")) if config.is_file() else ""


def _facts(about: dict[str, Any], template: bool) -> "RenderableType":
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    from limelight.cli.screen import line

    tokenizer, kept = about["tokenizer"], about["cache_bytes_per_token"]
    taken = ""  # an encoder keeps nothing
    if kept is not None:
        taken = f", each of which takes {decimal(kept['float32'])} in float32 or {decimal(kept['bfloat16'])} in 16 bits"
    facts = {
        "family": f"{about['family']}, {about['layers']} layers of width {about['width']:,}",
        "size": f"{about['parameters']:,} parameters in {decimal(about['bytes'])}",
        "context": f"{about['context']:,} tokens{taken}",
        "tokenizer": f"{tokenizer['kind'] + ', ' if tokenizer['kind'] else ''}{tokenizer['vocab']:,} tokens, "
        f"{len(tokenizer['special'])} of them special; a text ends at {' or '.join(tokenizer['eos']) or 'none'}",
        "chat": "yes; --template prints its template" if template else "no chat template",
        "file": about["path"],
    }
    if about["heads"]:
        shared = "" if about["heads"] == about["kv_heads"] else f" over {about['kv_heads']} shared keys and values"
        facts["family"] += f", {about['heads']} heads each{shared}"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(name, Text(line(fact)))
    return table


def _tree(parts: Parts) -> "RenderableType":
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("part", no_wrap=True)
    table.add_column("shape", justify="right")
    table.add_column("numbers", justify="right")
    table.add_column("type")
    table.add_column("bytes", justify="right")
    for guide, label, times, inner in _branches("model", 1, parts, "", ""):
        types = dict.fromkeys(part.type for part in inner.values() if part.type)
        table.add_row(
            Text.assemble((guide, "dim"), label),
            Text(_shape(inner)),
            f"{times * sum(part.numbers for part in inner.values()):,}" if types else "",
            Text(", ".join(types)) if types else Text("tied", "dim"),
            decimal(times * sum(part.bytes for part in inner.values())) if types else "",
            style="bold" if guide == "" else None,
        )
    return table


def _branches(label: str, times: int, parts: Parts, guide: str, below: str) -> Iterator[tuple[str, str, int, Parts]]:
    """The lines of the tree: its guide, label, how many times it stands there, and the parts of one of them."""
    yield guide, label, times, parts
    if all("." not in name for name in parts):  # a module of tensors is one line
        return
    children = list(_children(parts))
    for number, (name, count, inner) in enumerate(children, 1):
        last = number == len(children)
        yield from _branches(name, count, inner, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))


def _children(parts: Parts) -> Iterator[tuple[str, int, Parts]]:
    """The parts by the first piece of their names; numbered ones that are alike stand there as one."""
    for name, inner in _by_first(parts).items():
        numbered = _by_first(inner)
        if not all(number.isdigit() for number in numbered):
            yield name, 1, inner
            continue
        one = name.removesuffix("s")
        for _, same in groupby(numbered.items(), lambda item: [(n, p.shape, p.type) for n, p in item[1].items()]):
            (first, like), *others = same
            if len(others) + 1 == len(numbered):
                yield f"{len(numbered)} × {one}", len(numbered), like
            elif others:
                yield f"{len(others) + 1} × {one} ({first} to {others[-1][0]})", len(others) + 1, like
            else:
                yield f"{one} {first}", 1, like


def _by_first(parts: Parts) -> dict[str, dict[str, Part]]:
    found: dict[str, dict[str, Part]] = {}
    for name, part in parts.items():
        first, _, rest = name.partition(".")
        found.setdefault(first, {})[rest] = part
    return found


def _shape(parts: Parts) -> str:
    """The shapes of a module of tensors, "576 × 576 + 576" for one with a bias; nothing for larger ones."""
    if any("." in name for name in parts):
        return ""
    return " + ".join(" × ".join(f"{size:,}" for size in part.shape) for part in parts.values())
