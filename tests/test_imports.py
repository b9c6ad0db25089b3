"""Who may import whom, and what importing costs."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import limelight

ROOT = Path(limelight.__file__).parent

OPENED = ("Model", "Translator", "EncoderModel", "Embedder")
"""What `limelight.open` returns."""

ALLOWED = {
    "nn": {"errors"},
    "text": {"errors", "given"},
    "music": {"errors"},
    "models": {"errors", "nn"},
    "quant": {"errors", "nn"},
    "checkpoints": {"errors", "given", "models", "quant", "text", "nn.positions"},
    "decode": {"errors", "given", "text", "nn.state", "nn.cache", "models.api"},
    "look": {"errors", "given", "text", "nn", "models.api", "decode"},
    "tasks": {
        "errors",
        "given",
        "text",
        "nn",
        "models",
        "checkpoints",
        "decode",
        "look",
        "music",
        "train",
        "Embedder",
        "MaskedModel",
        "labels",
    },
    "views": {"errors", "text", "music", "models", "decode", "look", "tasks", "Model", "Translator"},
    "serve": {"errors", "given", "text", "models", "checkpoints", "decode", "look", "views", *OPENED},
    "notebook": {"errors", "views", "serve", "Model", "Translator"},
    "report": {"errors", "look", "train", "tasks", "completion", "Model", "model.Model"},
    "race": {"errors", "given", "models", "checkpoints", "text", "nn.state", "nn.unit", "train"},
    "train": {"errors", "models", "checkpoints", "decode", "text", "nn"},
}
"""Package → the packages and modules that its files may import besides their own."""


def imports(file: Path) -> set[str]:
    """The limelight modules that a file imports anywhere, type-checking blocks included, without the first name."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # "from limelight.models import config" names a module, "from limelight.models.api import Decoder" one in it
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("limelight.") for name in found if name.startswith("limelight.")}


def test_layers_import_only_what_lies_below() -> None:
    checked = 0
    for package, allowed in ALLOWED.items():
        for file in (ROOT / package).rglob("*.py"):
            for name in imports(file):
                checked += 1
                below = any(name == place or name.startswith(f"{place}.") for place in {package, *allowed})
                assert below, f"{file.relative_to(ROOT)} imports limelight.{name}"
    assert checked > 50


def needs(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Packages and modules right below limelight that code needs when it runs, within functions too, and the lines.

    Imports for a type checker alone are left out. What limelight itself hands out counts as the module it is from, and
    limelight as a whole as `open`.
    """
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        children: Iterable[ast.AST] = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "modules are imported by their whole names"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
        first, _, rest = name.partition(".")
        if first == "limelight" and rest != "__version__":
            rest = rest or "open"
            yield limelight._HOMES.get(rest, name).split(".")[1], node.lineno
    for child in children:
        yield from needs(child)


def graph() -> dict[str, dict[str, str]]:
    """Each package and module right below limelight → those that it needs → the first line that says so."""
    found: dict[str, dict[str, str]] = {}
    for file in sorted(ROOT.rglob("*.py")):
        place = file.relative_to(ROOT)
        unit = place.with_suffix("").parts[0]
        needed = found.setdefault(unit, {})
        for name, line in needs(ast.parse(file.read_text(encoding="utf-8"))):
            if name != unit:
                needed.setdefault(name, f"{place} line {line}")
    return found


def test_nobody_needs_who_needs_it() -> None:
    found = graph()
    assert set().union(*found.values()) <= set(found)
    assert {"look", "tasks", "views"} <= set(found["model"])
    assert {"checkpoints", "model", "tasks"} <= set(found["opening"])
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]  # each needs the next one
        lines = [found[one][other] for one, other in pairwise(circle)]
        raise AssertionError(f"{' → '.join(circle)}: {'; '.join(lines)}") from None


def test_a_notebook_asks_the_server_for_the_widget_alone() -> None:
    for file in (ROOT / "notebook").rglob("*.py"):
        asks = "serve" in dict(needs(ast.parse(file.read_text(encoding="utf-8"))))
        assert asks is (file.name == "widget.py"), file


def test_text_needs_no_torch() -> None:
    for file in (ROOT / "text").rglob("*.py"):
        assert "import torch" not in file.read_text(encoding="utf-8"), file


def test_no_file_is_two_things() -> None:
    for file in ROOT.rglob("*.py"):
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 500, file


def test_importing_limelight_is_quick_and_its_names_are_there() -> None:
    code = (
        "import sys, limelight; assert 'torch' not in sys.modules; [getattr(limelight, n) for n in limelight.__all__]"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    names = {"Completion", "LimelightError", "Model", "Sampling", "Seen", "Translator", "open", "save"}
    names |= {"Classifier", "Embedder", "EncoderModel", "MaskedModel", "SpanModel", "Tagger"}
    assert set(limelight.__all__) == names
