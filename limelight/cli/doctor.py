"""``limelight doctor``: what limelight finds on this machine, and what is missing."""

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limelight.cli import options as o

NEEDED = ("torch", "numpy", "safetensors", "tokenizers", "gguf", "huggingface_hub", "jinja2", "typer", "rich")
OPTIONAL = {
    "transformers": "compares limelight with the reference (pip install 'limelight[test]')",
    "pytest": "runs limelight's own tests (pip install 'limelight[test]')",
    "psutil": "measures memory in the benchmarks (pip install 'limelight[bench]')",
}


def doctor(json: o.Json = False) -> None:
    """Show what limelight finds on this machine and how to get what is missing.

    Example:

      limelight doctor
    """
    from limelight.cli import screen

    with screen.progress("looking around", quiet=json):
        found = {name: _safely(look) for name, look in LOOKS.items()}
        missing = _missing(found)
    if json:
        screen.print_json({**found, "missing": missing})
        return
    _print(found, missing)


def _safely(look: Callable[[], Any]) -> Any:
    """What `look` finds, or why it could not; a doctor never falls ill."""
    try:
        return look()
    except Exception as error:
        return f"unknown ({type(error).__name__}: {error})"


def _versions() -> dict[str, str | None]:
    """Of limelight, python, and every package that is needed or may be wanted; None for one that is not there."""
    from importlib.metadata import PackageNotFoundError, version

    import limelight

    found: dict[str, str | None] = {"limelight": limelight.__version__, "python": platform.python_version()}
    for package in (*NEEDED, *OPTIONAL):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _processor() -> dict[str, Any]:
    """Its name, and which of the instructions that matter for speed it has."""
    name, flags = _described()
    wanted = {
        "AVX2": {"avx2"},
        "AVX-512 VNNI": {"avx512_vnni", "avx512vnni"},
        "AVX-512 BF16": {"avx512_bf16"},
        "AMX": {"amx_tile", "amx_int8"},
        "NEON": {"neon", "asimd"},
    }
    return {
        "name": name or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "features": [feature for feature, names in wanted.items() if flags & names],
    }


def _described() -> tuple[str, set[str]]:
    """The processor's name and flags as the system tells them."""
    if sys.platform == "darwin":
        import subprocess

        asked = ["sysctl", "-n", "machdep.cpu.brand_string", "machdep.cpu.features", "machdep.cpu.leaf7_features"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.lower().splitlines()
        flags = set(" ".join(told[1:]).split()) | ({"neon"} if platform.machine() == "arm64" else set())
        return told[0] if told else "", flags
    if not sys.platform.startswith("linux"):
        return "", set()
    lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = values.get("flags") or values.get("Features") or ""
    return values.get("model name", ""), set(flags.split())


def _threads() -> dict[str, int]:
    """How many torch computes with, and how many processors this process may use."""
    import torch

    usable = len(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else os.cpu_count() or 1
    return {"torch": torch.get_num_threads(), "processors": usable}


def _memory() -> dict[str, int]:
    """Bytes in all, and free for use where the system says so."""
    found = {"total": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")}
    about = Path("/proc/meminfo")
    if about.exists():
        for line in about.read_text("utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                found["available"] = int(line.split()[1]) * 1024
    return found


def _cache() -> dict[str, Any]:
    """Where fetched models lie, whether we may write there, and the bytes that are free."""
    import shutil

    from limelight.checkpoints.cache import home

    folder = home()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return {
        "folder": str(folder),
        "writable": os.access(nearest, os.W_OK),
        "free": shutil.disk_usage(nearest).free,
    }


def _devices() -> list[str]:
    """What `--device` may name here."""
    import torch

    cuda = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def _kernels() -> list[str]:
    from limelight.quant.kernels import describe

    return describe()


def _models() -> dict[str, str | None]:
    """The named models, and where each is that is here."""
    from limelight.checkpoints.source import available

    return {model.name: None if model.path is None else str(model.path) for model in available()}


LOOKS: dict[str, Callable[[], Any]] = {
    "versions": _versions,
    "processor": _processor,
    "threads": _threads,
    "memory": _memory,
    "devices": _devices,
    "kernels": _kernels,
    "cache": _cache,
    "models": _models,
}


def _missing(found: dict[str, Any]) -> list[str]:
    """What is not as it should be or could be, and what to do about it, a sentence each."""
    sentences = []
    versions, cache, models = found["versions"], found["cache"], found["models"]
    if isinstance(versions, dict):
        lacking = [package for package, version in versions.items() if version is None]
        sentences += [f"{p} is needed and not installed: pip install {p}" for p in lacking if p in NEEDED]
        sentences += [f"{p} is not installed, which {OPTIONAL[p]}" for p in lacking if p in OPTIONAL]
    if isinstance(cache, dict) and not cache["writable"]:
        sentences.append(f"{cache['folder']} is not writable: set LIMELIGHT_HOME to a folder of your own")
    if isinstance(models, dict):
        absent = [name for name, path in models.items() if path is None]
        sentences += [f"the model {name} is not on this machine yet: limelight pull {name}" for name in absent]
    return sentences


def _print(found: dict[str, Any], missing: list[str]) -> None:
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    from limelight.cli import screen

    told = {name: value if isinstance(value, str) else "" for name, value in found.items()}
    if not told["versions"]:
        there = [f"{name} {version}" for name, version in found["versions"].items() if version]
        told["versions"] = ", ".join(there)
    if not told["processor"]:
        processor = found["processor"]
        features = ", ".join(processor["features"]) or "none of the instructions that make limelight faster"
        told["processor"] = f"{processor['name']} ({processor['architecture']}): {features}"
    if not told["threads"]:
        told["threads"] = f"{found['threads']['torch']} of {found['threads']['processors']} processors"
    if not told["memory"]:
        memory = found["memory"]
        free = f", {decimal(memory['available'])} of it free" if "available" in memory else ""
        told["memory"] = decimal(memory["total"]) + free
    told["devices"] = told["devices"] or ", ".join(found["devices"])
    told["kernels"] = told["kernels"] or " ".join(found["kernels"])
    if not told["cache"]:
        told["cache"] = f"{found['cache']['folder']}, with {decimal(found['cache']['free'])} free"
    if not told["models"]:
        here = [name for name, path in found["models"].items() if path]
        told["models"] = ", ".join(here) or "none yet"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in told.items():
        table.add_row(name, Text(screen.line(value)))
    console = screen.stdout()
    console.print(table)
    console.print()
    for sentence in missing:
        console.print(Text.assemble(("• ", "yellow"), screen.line(sentence)))
    if not missing:
        console.print(Text("Nothing is missing.", "green"))
