"""How results are told: rows of ours beside a peer's, and the machine they were measured on."""

import platform
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "llama_cpp_python",
    "ik_llama_cpp_python",
    "openvino_genai",
    "ctranslate2",
    "captum",
    "sentence-transformers",
)


@dataclass(frozen=True)
class Row:
    """One comparison. ratio: how many times better ours is, whatever the unit. peer, ratio: None where no peer could be
    measured; peer_name says which is missing."""

    name: str
    ours: float
    peer: float | None
    peer_name: str
    ratio: float | None
    unit: str


def beside(name: str, unit: str, ours: float, peers: dict[str, float], missing: dict[str, str]) -> Row:
    """Ours beside the best of the peers. Seconds and milliseconds are better small, everything else large.

    missing: peers that belong into the row and could not be measured, and why.
    """
    absent = ", ".join(missing)
    if not peers:
        return Row(name, ours, None, f"missing: {absent}", None, unit)
    small = unit in ("s", "ms")
    best = (min if small else max)(peers, key=lambda peer: peers[peer])
    ratio = peers[best] / ours if small else ours / peers[best]
    return Row(name, ours, peers[best], f"{best} (missing: {absent})" if absent else best, ratio, unit)


def machine() -> dict[str, Any]:
    """What the figures were measured on and with."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def table(result: dict[str, Any]) -> str:
    """A result as lines that a person can read: its rows in Markdown, and what else was found."""
    cells = [("", "limelight", "peer", "ratio", "unit", "peer is")]
    for row in result["rows"]:
        peer = "–" if row["peer"] is None else _short(row["peer"])
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f} ×"
        cells.append((row["name"], _short(row["ours"]), peer, ratio, row["unit"], row["peer_name"]))
    lines = markdown(cells, numbers=(1, 2, 3))
    lines += ["", *(f"{key}: {value:.5g}" for key, value in result.items() if isinstance(value, int | float))]
    lines += [f"not measured: {name} ({reason})" for name, reason in result.get("missing", {}).items()]
    return "\n".join([*lines, described(result["machine"])])


def markdown(cells: list[tuple[str, ...]], numbers: Collection[int]) -> list[str]:
    """A table in Markdown, its columns aligned. cells: the head and the rows. numbers: columns that are flush right."""
    wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(f"{cell:{'>' if i in numbers else '<'}{wide[i]}}" for i, cell in enumerate(row)) + " |"
        for row in cells
    ]
    rule = "|".join("-" * (width + 1) + (":" if i in numbers else "-") for i, width in enumerate(wide))
    return [lines[0], f"|{rule}|", *lines[1:]]


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.3g}"


def described(machine: dict[str, Any]) -> str:
    """A machine in a line."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return f"{machine['cpu']}, {machine['threads']} threads, Python {machine['python']}, {versions}"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
