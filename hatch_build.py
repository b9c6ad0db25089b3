"""Builds the compiled kernels into the wheel where there is a C++ compiler; without one, limelight uses torch's own."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

SOURCE = "limelight/quant/native/kernels.cpp"
LIBRARY = "limelight/quant/_native.so"
# No -march: the kernels choose their instructions when they run. Contraction would let each compiler round differently.
FLAGS = ["-O3", "-std=c++17", "-ffp-contract=off", "-fPIC", "-shared", "-pthread"]


class CustomBuildHook(BuildHookInterface[Any]):
    """Compiles one file; a failure leaves a pure Python wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        editable = version == "editable"
        # An editable install reads the package from the source tree, so the library goes there.
        self.folder = None if editable else tempfile.TemporaryDirectory()
        library = Path(self.folder.name, "_native.so") if self.folder else Path(self.root, LIBRARY)
        source = Path(self.root, SOURCE)
        problem = None if editable and built(source, library) else build(source, library)
        if problem:
            self.app.display_warning(f"limelight is built without its compiled kernels: {problem}")
            return
        # Reached by ctypes, the library knows nothing of Python: one wheel is for every Python 3 of a platform.
        own = next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
        build_data.update(pure_python=False, tag=f"py3-none-{own}")
        if not editable:
            build_data["force_include"][str(library)] = LIBRARY

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.target_name == "wheel" and self.folder:
            self.folder.cleanup()


def checksum(folder: Path) -> int:
    """Of all that a library is made of, as `limelight.quant.native` computes it."""
    return zlib.crc32(b"".join(source.read_bytes() for source in sorted(folder.iterdir())))


def built(source: Path, library: Path) -> bool:
    """Whether ``library`` is there, made from ``source`` as it is now and as this file says; compiling takes long."""
    if "CXX" in os.environ or not library.exists() or library.stat().st_mtime < Path(__file__).stat().st_mtime:
        return False
    try:
        made_from = ctypes.CDLL(str(library)).limelight_source
    except (OSError, AttributeError):
        return False
    made_from.restype = ctypes.c_uint32
    return bool(made_from() == checksum(source.parent))


def build(source: Path, library: Path) -> str | None:
    """Compiles ``source`` into ``library``; returns what was in the way, or nothing."""
    named = os.environ.get("CXX")
    compilers = [shlex.split(named)] if named else [[name] for name in ("c++", "g++", "clang++")]
    compiler = next((command for command in compilers if shutil.which(command[0])), None)
    if compiler is None:
        return f"there is no C++ compiler ({', '.join(command[0] for command in compilers)})"
    # Compiled beside its place and moved there: a process that has the old library open keeps it.
    fresh = library.with_suffix(".new")
    # The library carries its source's checksum, so that one built from another version is not used.
    command = [*compiler, *FLAGS, f"-DSOURCE={checksum(source.parent)}u", str(source), "-o", str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        fresh.unlink(missing_ok=True)
        return f"{compiler[0]} said: {done.stderr.strip()[-2000:]}"
    fresh.replace(library)
    return None
