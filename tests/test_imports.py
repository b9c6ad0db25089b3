"""Who may import whom, and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import limelight

ROOT = Path(limelight.__file__).parent

ALLOWED = {
    "nn": {"errors"},
    "text": {"errors", "given"},
    "models": {"errors", "nn"},
    "quant": {"errors", "nn"},
    "checkpoints": {"errors", "given", "models", "quant", "text", "nn.positions"},
    "decode": {"errors", "given", "text", "nn.state", "nn.cache", "models.api"},
    "look": {
        "errors",
        "given",
        "text",
        "nn",
        "models.api",
        "decode",
        "notebook",
    },  # which shows a look that is displayed
    "tasks": {"errors", "given", "text", "nn", "models", "checkpoints", "decode", "look", "train"},
    "serve": {
        "errors",
        "given",
        "models",
        "checkpoints",
        "quant",
        "decode",
        "look",
        "tasks",
        "text",
        "Model",
        "Translator",
    },
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
    names |= {"Classifier", "Embedder", "EncoderModel", "MaskedModel"}
    assert set(limelight.__all__) == names
