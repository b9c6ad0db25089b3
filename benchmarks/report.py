"""How results are told: rows of ours beside a peer's, and the machine they were measured on."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One comparison. ratio: how many times better ours is, whatever the unit."""

    name: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    unit: str


def machine() -> dict[str, Any]:
    """What the figures were measured on and with."""
    import torch

    versions = {}
    for package in ("torch", "transformers", "tokenizers", "numpy"):
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
    """A result as lines that a person can read."""
    lines = [f"{'':28}{'limelight':>12}{'peer':>12}{'ratio':>8}   unit"]
    for row in result["rows"]:
        figures = f"{row['ours']:>12.4g}{row['peer']:>12.4g}{row['ratio']:>7.2f}×"
        lines.append(f"{row['name']:28}{figures}   {row['unit']}, {row['peer_name']}")
    extra = {key: value for key, value in result.items() if isinstance(value, int | float)}
    lines += [f"{key}: {value:.4g}" for key, value in extra.items()]
    about = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines.append(f"{about['cpu']}, {about['threads']} threads, Python {about['python']}, {versions}")
    return "\n".join(lines)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
