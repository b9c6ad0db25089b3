"""How results are told: rows of ours beside a peer's, and the machine they were measured on."""

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "llama_cpp_python", "ctranslate2", "captum")


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
    """A result as lines that a person can read."""
    wide = max([28, *(len(row["name"]) + 1 for row in result["rows"])])
    lines = [f"{'':{wide}}{'limelight':>12}{'peer':>12}{'ratio':>8}   unit, peer"]
    for row in result["rows"]:
        peer = "–" if row["peer"] is None else f"{row['peer']:.4g}"
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}×"
        lines.append(
            f"{row['name']:{wide}}{row['ours']:>12.4g}{peer:>12}{ratio:>8}   {row['unit']}, {row['peer_name']}"
        )
    lines += [f"{key}: {value:.5g}" for key, value in result.items() if isinstance(value, int | float)]
    lines += [f"not measured: {name} ({reason})" for name, reason in result.get("missing", {}).items()]
    return "\n".join([*lines, described(result["machine"])])


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
