"""Models of the hub: fetched with the real `huggingface_hub`, from a stand-in hub on this machine's loopback."""

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from stand_in_hub import blob, constants, only_hub

from limelight.checkpoints import hub, source
from limelight.errors import SourceError

COMMIT = "a" * 40
WEIGHTS = bytes(range(256)) * 4096
CONFIG = {"config.json": b'{"model_type": "gpt2"}', "tokenizer.json": b"{}"}
PLAIN = {**CONFIG, "model.safetensors": WEIGHTS}


class Hub:
    """A hub with one repository, `org/name`; it can break a transfer off halfway, or refuse."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.refusal: tuple[int, dict[str, str]] | None = None  # status and headers of every answer about files
        self.breaks = 0  # how many of the next transfers of weights end halfway
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, range
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                served.asked.append((self.command, path, self.headers.get("Range")))
                api = "/api/models/org/name"
                if path in (api, f"{api}/revision/main"):
                    return self.send_json({"id": "org/name", "sha": COMMIT, "siblings": served.listing("rfilename")})
                if path == f"{api}/tree/{COMMIT}":
                    return self.send_json([{"type": "file", **entry} for entry in served.listing("path")])
                name = path.removeprefix(f"/org/name/resolve/{COMMIT}/")
                if served.refusal:
                    return self.send(*served.refusal)
                if name not in served.files:
                    return self.send(404, {"X-Error-Code": "RepoNotFound"})
                return self.send_file(served.files[name])

            def send_json(self, value: object) -> None:
                self.send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

            def send_file(self, content: bytes) -> None:
                headers = {"ETag": f'"{blob(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
                if asked := self.headers.get("Range"):
                    start = int(asked.removeprefix("bytes=").partition("-")[0])
                    headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                    return self.send(206, headers, content[start:])
                return self.send(200, headers, content)

            def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    broken = served.breaks > 0 and len(body) == len(WEIGHTS)
                    served.breaks -= broken
                    self.wfile.write(body[: len(body) // 2] if broken else body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def listing(self, key: str) -> list[dict[str, object]]:
        sizes = {name: (len(content), blob(content)) for name, content in self.files.items()}
        identity = "blobId" if key == "rfilename" else "oid"
        return [{key: name, "size": size, identity: oid} for name, (size, oid) in sizes.items()]

    @property
    def sent(self) -> set[str]:
        """The files that were transferred."""
        return {
            path.partition(COMMIT)[2][1:] for method, path, _ in self.asked if method == "GET" and COMMIT + "/" in path
        }


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, set as the only hub, and an empty cache."""
    stand_in = Hub(dict(PLAIN))
    with only_hub(stand_in.server, tmp_path, monkeypatch):
        yield stand_in


def test_fetches_once_and_then_asks_nobody(served: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    served.files |= {"pytorch_model.bin": b"x", "model.fp16.safetensors": b"x", "onnx/model.onnx": b"x", "a.gguf": b"x"}
    seen: list[tuple[int, int, str]] = []
    folder = source.fetch(source.resolve("org/name"), lambda *step: seen.append(step))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == PLAIN
    assert served.sent == set(PLAIN)
    total = sum(map(len, PLAIN.values()))
    assert seen[0] == (0, total, "downloading")
    assert seen[-1] == (total, total, "downloading")
    assert capfd.readouterr().err == ""  # the library's own bars are off

    served.asked.clear()
    assert source.fetch(source.resolve("org/name")) == folder
    assert served.asked == []
    assert list(hub.every()) == [hub.Cached("org/name", folder, total, "gpt2")]


@pytest.mark.parametrize("off", [False, True])
def test_the_librarys_bars_are_afterwards_as_they_were(served: Hub, off: bool) -> None:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    try:
        disable_progress_bars() if off else enable_progress_bars()
        hub.fetch("org/name")
        assert are_progress_bars_disabled() == off
    finally:
        enable_progress_bars()


@pytest.mark.parametrize(
    ("others", "weights"),
    [
        (("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"), 3),
        (("pytorch_model.bin", "tf_model.h5"), 1),
        (("pytorch_model-1-of-2.bin", "pytorch_model-2-of-2.bin", "pytorch_model.bin.index.json"), 3),
    ],
)
def test_takes_one_form_of_the_weights(served: Hub, others: tuple[str, ...], weights: int) -> None:
    served.files = {**CONFIG, **{name: name.encode() for name in others}}
    folder = hub.fetch("org/name")
    wanted = {*CONFIG, *others[:weights]}
    assert {file.name for file in folder.iterdir()} == wanted
    for name in wanted:  # without any one of them the model is not whole
        file = folder / name
        kept = file.rename(file.with_name("elsewhere"))
        assert hub.cached("org/name") is None
        kept.rename(file)
    assert hub.cached("org/name") == folder


def test_a_lone_gguf_file_is_the_model(served: Hub) -> None:
    served.files = {"README.md": b"x", "one.gguf": b"one"}
    path = hub.fetch("org/name")
    assert (path.name, path.read_bytes()) == ("one.gguf", b"one")
    assert served.sent == {"one.gguf"}
    assert hub.cached("org/name") == path


def test_one_gguf_file_of_several_is_named(served: Hub) -> None:
    served.files = {"a.gguf": b"a", "sub/b.gguf": b"b"}
    with pytest.raises(
        SourceError, match=r"several GGUF files; name one, as in org/name:a\.gguf \(a\.gguf, sub/b\.gguf\)"
    ):
        hub.fetch("org/name")
    with pytest.raises(SourceError, match=r"has no c\.gguf; it has a\.gguf, sub/b\.gguf"):
        source.fetch(source.resolve("org/name:c.gguf"))
    path = source.fetch(source.resolve("org/name:sub/b.gguf"))
    assert path.read_bytes() == b"b"
    assert served.sent == {"sub/b.gguf"}
    assert hub.cached("org/name", "sub/b.gguf") == path
    assert hub.cached("org/name", "a.gguf") is None
    assert source.fetch(source.resolve("org/name:a.gguf")).read_bytes() == b"a"  # though another is here
    assert served.sent == {"a.gguf", "sub/b.gguf"}


def test_a_repository_without_weights_is_refused(served: Hub) -> None:
    served.files = {"README.md": b"x", "data.csv": b"x"}
    with pytest.raises(SourceError, match="org/name holds no weights that limelight opens"):
        hub.fetch("org/name")
    assert served.sent == set()


def test_a_broken_transfer_goes_on_where_it_stopped(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)  # a smaller part than this is not kept
    served.breaks = 1
    folder = hub.fetch("org/name")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [part for method, path, part in served.asked if method == "GET" and path.endswith("model.safetensors")]
    assert ranges == [None, f"bytes={len(WEIGHTS) // 2}-"]


def test_what_arrived_whole_is_not_fetched_again(served: Hub) -> None:
    folder = hub.fetch("org/name")
    (folder / "model.safetensors").resolve().unlink()
    assert hub.cached("org/name") is None
    served.asked.clear()
    assert (hub.fetch("org/name") / "model.safetensors").read_bytes() == WEIGHTS
    assert served.sent == {"model.safetensors"}


@pytest.mark.parametrize(
    ("status", "headers", "why"),
    [
        (403, {"X-Error-Code": "GatedRepo"}, "its terms must be accepted first at https://huggingface.co/org/name"),
        (401, {"X-Error-Code": "GatedRepo"}, "its terms must be accepted first"),
        (401, {"X-Error-Message": "Invalid credentials in Authorization header"}, "the hub refused access"),
        (401, {"X-Error-Code": "RepoNotFound"}, "the hub knows no such model, or it is private"),
        (410, {}, "the hub answered with status 410"),
    ],
)
def test_a_refusal_is_one_sentence(served: Hub, status: int, headers: dict[str, str], why: str) -> None:
    served.refusal = (status, headers)
    with pytest.raises(SourceError, match=why) as error:
        hub.fetch("org/name")
    assert "\n" not in str(error.value)
    assert "hf download org/name" in str(error.value)
    assert hub.cached("org/name") is None


def test_a_repository_that_does_not_exist(served: Hub) -> None:
    with pytest.raises(SourceError, match=r"no/such is not on this machine .* the hub knows no such model"):
        hub.fetch("no/such")


def test_without_network_it_says_how_to_do_it_by_hand(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(
        SourceError, match=r"the transfer from the hub failed: .*refused.*To provide it by hand"
    ) as error:
        hub.fetch("org/name")
    assert "\n" not in str(error.value)
    assert served.asked == []


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (socket.gaierror(-2, "unknown"), "no host called hub.example can be found; check the network"),
        (PermissionError(13, "denied", "/x"), r"/x cannot be written \(denied\); HF_HOME names another folder"),
        (ValueError("first\nsecond"), "the transfer from the hub failed: first. To"),
        (TimeoutError(), "the transfer from the hub failed: TimeoutError. To"),
    ],
)
def test_what_else_goes_wrong_is_said_as_well(
    served: Hub, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        if isinstance(error, socket.gaierror):  # which a transport has put into errors of its own
            raise RuntimeError("on the way") from error
        raise error

    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.example:8")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", fail)
    with pytest.raises(SourceError, match=why):
        hub.fetch("org/name")


def test_an_empty_cache_lists_nothing(served: Hub) -> None:
    assert list(hub.every()) == []


def test_a_file_that_arrived_damaged_is_thrown_away_and_said(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its length is right, and so the library takes it."""
    whole, spoilt = served.files["model.safetensors"], bytes(len(WEIGHTS))
    listing = served.listing
    monkeypatch.setattr(served, "listing", lambda key: [{**e, **_promised(whole, e, key)} for e in listing(key)])
    served.files["model.safetensors"] = spoilt
    with pytest.raises(SourceError, match=r"the hash of model\.safetensors is not the hub's; it was thrown away"):
        hub.fetch("org/name")
    assert hub.cached("org/name") is None
    served.files["model.safetensors"] = whole
    assert (hub.fetch("org/name") / "model.safetensors").read_bytes() == whole


def _promised(content: bytes, entry: dict[str, object], key: str) -> dict[str, object]:
    """What the hub's listing says of the large file: its sha256, as for all that Git LFS keeps."""
    if entry[key] != "model.safetensors":
        return {}
    return {
        "lfs": {
            "sha256": (digest := hashlib.sha256(content).hexdigest()),
            "oid": digest,
            "size": len(content),
            "pointerSize": 130,
        }
    }


def test_small_files_beside_the_weights_come_along_and_no_others(served: Hub) -> None:
    small = {f"a{suffix}": suffix.encode() for suffix in (".json", ".jinja", ".model", ".spm", ".txt")}
    served.files |= {**small, "a.md": b"x", "a.py": b"x", "deep/a.json": b"x"}
    hub.fetch("org/name")
    assert served.sent == {*PLAIN, *small}


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "source.spm"]
)
def test_a_model_is_whole_with_weights_config_and_any_tokenizer(tmp_path: Path, name: str) -> None:
    assert hub._whole(tmp_path / "none") is None
    for part in ("config.json", name, "model.safetensors"):
        assert hub._whole(tmp_path) is None
        (tmp_path / part).touch()
    assert hub._whole(tmp_path) == tmp_path


SHARDS = [f"model-{number}-of-2.safetensors" for number in (1, 2)]
TORCH = [f"pytorch_model-{number}-of-1.bin" for number in (1,)]


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (["pytorch_model.bin", "model.safetensors", *SHARDS], ["model.safetensors"]),
        ([*SHARDS, "pytorch_model.bin", "a.gguf"], [*SHARDS, "model.safetensors.index.json"]),
        ([SHARDS[1], "pytorch_model.bin"], ["pytorch_model.bin"]),
        ([SHARDS[1], *TORCH], [*TORCH, "pytorch_model.bin.index.json"]),
        ([SHARDS[1], "b.gguf", "a.gguf", "c.txt"], ["a.gguf", "b.gguf"]),
        (["xmodel-1-of-1.safetensors", "model-1-of-1.safetensors.old"], []),
    ],
)
def test_weights_are_taken_in_one_form(names: list[str], weights: list[str]) -> None:
    assert hub._weights(names) == weights


def test_only_what_is_a_hash_is_held_against_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for right in (blob(b"x"), hashlib.sha256(b"x").hexdigest()):
        file.write_bytes(b"x")
        for digest in (right, None, right[1:], right.upper(), f"{right}\n"):
            hub._check("org/name", file, digest)
        assert file.exists()
        with pytest.raises(SourceError, match=r"the hash of a\.json is not the hub's"):
            hub._check("org/name", file, "0" * len(right))
        assert not file.exists()


def test_a_gguf_model_in_parts_is_fetched_whole(served: Hub) -> None:
    parts = [f"big-{number:05d}-of-00002.gguf" for number in (1, 2)]
    served.files = {name: name.encode() for name in parts}
    path = hub.fetch("org/name")
    assert path.name == parts[0]
    assert served.sent == set(parts)
    assert hub.cached("org/name", parts[0]) == path == hub.fetch("org/name", parts[0])
    (path.parent / parts[1]).unlink()
    assert hub.cached("org/name") is None


def test_the_cache_lists_whole_models_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    configs = {
        "models--org--b": '{"model_type": "llama"}',
        "models--org--a": "[]",
        "models--org--none": "{}",
        "datasets--org--data": "{}",
    }
    for name, config in configs.items():
        snapshot = tmp_path / name / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (tmp_path / name / "refs").mkdir()
        (tmp_path / name / "refs" / ("pr" if "none" in name else "main")).write_text(COMMIT)
        for file, content in {"config.json": config, "tokenizer.json": "{}", "model.safetensors": "12345"}.items():
            (snapshot / file).write_text(content)
    found = {name: tmp_path / f"models--org--{name}" / "snapshots" / COMMIT for name in "ab"}
    sizes = {"a": len("[]{}12345"), "b": len('{"model_type": "llama"}{}12345')}
    assert list(hub.every()) == [
        hub.Cached("org/a", found["a"], sizes["a"], ""),
        hub.Cached("org/b", found["b"], sizes["b"], "llama"),
    ]
    assert hub.cached("org/b") == found["b"]
    assert hub.cached("org/none") is None
    assert hub._family(tmp_path) == ""


def test_a_repository_says_what_it_has(tmp_path: Path) -> None:
    weights = ["model.safetensors"]
    for names, file, why in (
        (["a.bin", "b.txt"], "c.gguf", "org/name has no c.gguf; it has no GGUF file at all"),
        (["b.gguf", "x", "a.gguf"], "c.gguf", "org/name has no c.gguf; it has a.gguf, b.gguf"),
        (["b.gguf", "a.gguf"], None,
         "org/name holds several GGUF files; name one, as in org/name:a.gguf (a.gguf, b.gguf)"),
        (["x"], None, "org/name holds no weights that limelight opens (safetensors, torch's .bin, or .gguf)"),
    ):  # fmt: skip
        with pytest.raises(SourceError) as refused:
            hub._choose("org/name", names, file)
        assert str(refused.value) == why
    names = ["z.txt", "config.json", "deep/a.json", "a.md", "model.safetensors"]
    assert hub._choose("org/name", names, None) == [*weights, "config.json", "z.txt"]
    parts = [f"deep/a-0000{number}-of-00002.gguf" for number in (1, 2)]
    assert hub._choose("org/name", parts, None) == hub._choose("org/name", parts, parts[1]) == parts
    (tmp_path / "deep").mkdir()
    (tmp_path / parts[0]).touch()
    assert hub._whole(tmp_path) is hub._whole(tmp_path, parts[0]) is None
    (tmp_path / parts[1]).touch()
    assert hub._whole(tmp_path) == hub._whole(tmp_path, parts[0]) == tmp_path / parts[0]


def test_each_failure_has_its_clause() -> None:
    from huggingface_hub import errors

    elsewhere = errors.LocalEntryNotFoundError("not here")
    assert hub._reason("org/name", elsewhere) == "the transfer from the hub failed: not here"
    elsewhere.__cause__ = errors.OfflineModeIsEnabled("off")
    assert hub._reason("org/name", elsewhere) == "HF_HUB_OFFLINE is set"
    assert hub._reason("org/name", OSError("broken pipe")) == "the transfer from the hub failed: broken pipe"
    lost = RuntimeError("outer")
    lost.__context__ = socket.gaierror(-2, "unknown")
    assert hub._reason("org/name", lost).startswith("no host called ")
    with pytest.raises(SourceError) as refused, hub._explained("org/name"):
        raise TimeoutError
    assert str(refused.value) == (
        "org/name is not on this machine and could not be fetched: the transfer from the hub failed: TimeoutError. To "
        "provide it by hand, run `hf download org/name --local-dir FOLDER` on a machine that can, bring the folder "
        "here, and name it"
    )


def test_telemetry_is_off_unless_the_user_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    for before, after in ((None, "1"), ("0", "0")):
        monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
        if before is not None:
            monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", before)
        hub._quiet()
        assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == after
