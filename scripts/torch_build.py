"""Chooses which build of torch pip installs: prints pip's options, and what to expect on standard error.

On Linux PyPI's build brings CUDA, 4.7 GB that a machine without an NVIDIA GPU has no use for. PyTorch has an index of
builds for the CPU alone (https://pytorch.org/get-started/locally), which is asked once, for PATIENCE seconds. Where it
does not answer, where a GPU wants CUDA, and where pip was told to take packages from somewhere else, pip does what it
always does.
"""

import os
import platform
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

INDEX = "https://download.pytorch.org/whl/cpu"
PATIENCE = 5.0


def choose(system: str, nvidia: bool, told: bool, answers: Callable[[], bool]) -> tuple[list[str], str]:
    """pip's options, and a line for people.

    nvidia: there is a GPU that CUDA is for. told: pip's own settings name an index. answers: whether PyTorch's index
    does; asked only where it matters.
    """
    if system != "Linux":
        return [], "torch as PyPI has it, 100 to 250 MB"
    if nvidia:
        return [], "torch with CUDA for the NVIDIA GPU of this machine, up to 4.7 GB"
    if told:
        return [], "torch from the index that pip is set to; as on PyPI it may bring CUDA, up to 4.7 GB"
    if not answers():
        return [], f"torch as pip finds it, up to 4.7 GB with CUDA: {INDEX} does not answer"
    # What torch needs comes from PyPI afterwards: this index has other versions of it.
    return ["--no-deps", "--index-url", INDEX], "torch for the CPU, about 200 MB"


def has_nvidia() -> bool:
    """Whether an NVIDIA driver is there, be it Windows' own behind WSL."""
    driver = Path("/proc/driver/nvidia/version").exists() or Path("/usr/lib/wsl/lib/nvidia-smi").exists()
    return driver or shutil.which("nvidia-smi") is not None


def is_told(settings: str) -> bool:
    """Whether pip's settings, as `pip config list` prints them, name an index in place of PyPI, or none."""
    names = {line.partition("=")[0].rpartition(".")[2] for line in settings.splitlines()}
    return not names.isdisjoint({"index-url", "no-index"})


def answers(url: str = f"{INDEX}/torch/", patience: float = PATIENCE) -> bool:
    """Whether the page is there, found out in `patience` seconds at most, names and all."""
    found: list[int] = []

    def ask() -> None:
        certificates = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=patience, context=certificates) as answer:
                found.append(answer.status)
        except (OSError, HTTPException):
            pass

    asking = threading.Thread(target=ask, daemon=True)  # looking up a name may take longer than any timeout
    asking.start()
    asking.join(patience)
    return found == [200]


def main() -> None:
    """Prints the options for the Python that runs this."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    settings = subprocess.run(pip, capture_output=True, text=True, check=False).stdout
    options, sentence = choose(platform.system(), has_nvidia(), is_told(settings), answers)
    print(sentence, file=sys.stderr)
    print(*options)


if __name__ == "__main__":
    main()
