"""Data sets of the hub: fetched with the real `huggingface_hub`, from a stand-in hub on this machine's loopback."""

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import pytest
from stand_in_hub import blob, constants, only_hub

from limelight.errors import FileError, SourceError
from limelight.train import hub
from limelight.train.data import read_pairs, read_texts
from limelight.train.tokenfile import fingerprint

COMMIT = "b" * 40
PAIRS = [("A dog.", "Ein Hund."), ("A cat.", "Eine Katze.")]
FILES = {
    "README.md": b"# Cards are no data",
    "en-de/train-00000-of-00002.jsonl": b'{"translation": {"en": "A dog.", "de": "Ein Hund."}}\n',
    "en-de/train-00001-of-00002.jsonl": b'{"translation": {"en": "A cat.", "de": "Eine Katze."}}\n',
    "en-de/validation.jsonl": b'{"translation": {"en": "Yes.", "de": "Ja."}}\n',
    "en-fr/train.jsonl": b'{"translation": {"en": "No.", "fr": "Non."}}\n',
}


class Hub:
    """A hub with one data set, `org/name`."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.status = 200
        self.asked: list[str] = []
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                served.asked.append(path)
                api = "/api/datasets/org/name"
                files = [{"rfilename": name, "path": name, "type": "file", "size": len(c), "oid": blob(c)}
                         for name, c in served.files.items()]  # fmt: skip
                name = path.removeprefix(f"/datasets/org/name/resolve/{COMMIT}/")
                if served.status != 200:
                    self.send(served.status, {})
                elif path in (api, f"{api}/revision/main"):
                    self.send(200, {}, json.dumps({"id": "org/name", "sha": COMMIT, "siblings": files}).encode())
                elif path == f"{api}/tree/{COMMIT}":
                    self.send(200, {}, json.dumps(files).encode())
                elif name in served.files:
                    content = served.files[name]
                    self.send(200, {"ETag": f'"{blob(content)}"', "X-Repo-Commit": COMMIT}, content)
                else:
                    self.send(404, {"X-Error-Code": "RepoNotFound"})

            def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, set as the only hub, and an empty cache."""
    stand_in = Hub()
    hub.fetched.cache_clear()
    with only_hub(stand_in.server, tmp_path, monkeypatch):
        yield stand_in
    hub.fetched.cache_clear()


def test_pairs_of_one_config_and_split(served: Hub) -> None:
    columns = ("translation.en", "translation.de")
    assert list(read_pairs(["hub:org/name:en-de"], columns)) == PAIRS
    assert list(read_pairs(["hub:org/name:en-de:validation"], columns)) == [("Yes.", "Ja.")]
    before = len(served.asked)
    assert list(read_pairs(["hub:org/name:en-de"], columns)) == PAIRS
    assert len(served.asked) == before
    assert not any("fr" in path.rpartition("/resolve/")[2] for path in served.asked)  # nothing but what is meant
    assert fingerprint(["hub:org/name:en-de"], []) != fingerprint(["hub:org/name:en-fr"], [])


def test_text(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    served.files = {"books/a.txt": b"Once upon a time\n", "cover.png": b"x"}
    assert "".join(text for text, _ in read_texts(["hub:org/name"])) == "Once upon a time\n"
    assert os.environ.pop("HF_HUB_DISABLE_TELEMETRY") == "1"  # nobody is told of it


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:name", "no data set of the hub; write hub:org/name"),
        ("hub:org/name:en-it", "no file of a config 'en-it'; its files are en-de/train-0"),
        ("hub:org/name:en-fr:test", "no file of a split 'test'; its files are en-fr/train.jsonl"),
        ("hub:org/other", "could not be fetched: the hub knows no such data set"),
    ],
)
def test_what_is_not_there_is_named(served: Hub, name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        list(read_pairs([name]))


def test_other_kinds_of_files_are_refused(served: Hub) -> None:
    served.files = {"data/train.parquet": b"PAR1"}
    with pytest.raises(SourceError, match=r"no file that can be read here \(.tsv, .*\); it holds .parquet"):
        list(read_pairs(["hub:org/name"]))


def test_a_hub_that_does_not_answer(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(SourceError, match="org/name could not be fetched"):
        list(read_pairs(["hub:org/name"]))


def test_it_is_said_that_the_hub_may_not_be_asked(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set"):
        list(read_pairs(["hub:org/name"]))


def test_a_path_that_is_not_there_asks_nobody(served: Hub) -> None:
    with pytest.raises(FileError, match="no such file; if you mean a data set of the hub, write hub:org/name"):
        list(read_pairs(["org/name"]))
    assert not served.asked


def test_splits_by_words_of_the_path() -> None:
    def files(names: str, split: str, config: str = "") -> list[str]:
        return hub.chosen("a/b", names.split(), (".jsonl", ".csv"), config, split)

    assert files("a.jsonl b.csv", "train") == ["a.jsonl", "b.csv"]
    assert files("my_train.jsonl my_dev.jsonl trainer.jsonl", "train") == ["my_train.jsonl"]
    assert files("my_train.jsonl my_dev.jsonl", "validation") == ["my_dev.jsonl"]
    kinds = {"train": "train training", "validation": "validation valid val dev", "test": "test testing"}
    for split, names in kinds.items():
        for name in names.split():
            assert files(f"{name}.jsonl other.jsonl", split) == [f"{name}.jsonl"]
    assert files("a.jsonl.gz extra.jsonl", "extra") == ["extra.jsonl"]
    assert files("de/train.jsonl fr/train.jsonl", "train", "fr") == ["fr/train.jsonl"]


def test_files_beside_a_data_set_of_the_hub_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    beside = tmp_path / "a.txt"
    seen = set()
    for text in ("one", "two"):
        beside.write_text(text)
        seen |= {fingerprint(["hub:org/name", beside], []), fingerprint([beside, "hub:org/name"], [])}
    seen |= {fingerprint(["hub:org/name"], []), fingerprint(["hub:org/other"], [])}
    assert len(seen) == 6


def test_files_of_a_config_or_split_are_named_by_a_word() -> None:
    def refused(names: list[str], config: str = "", split: str = "train") -> str:
        with pytest.raises(SourceError) as refusal:
            hub.chosen("a/b", names, (".jsonl", ".csv"), config, split)
        return str(refusal.value)

    def files(names: str, config: str, split: str = "train") -> list[str]:
        return hub.chosen("a/b", names.split(), (".jsonl", ".csv"), config, split)

    assert files("x-EN.jsonl den.jsonl En/y.csv", "en") == ["En/y.csv", "x-EN.jsonl"]
    assert files("v1.0/a.csv v1/b.csv", "v1.0") == ["v1.0/a.csv"]  # a folder that is called so, whatever its words
    assert files("en/extra.csv", "en", "Extra") == ["en/extra.csv"]
    assert files("en/a.csv de/test.csv", "en") == ["en/a.csv"]  # others are split, its own are not
    needed = "Download and convert it, then pass the files"
    kinds = "the data set a/b has no file that can be read here (.jsonl, .csv); it holds"
    assert refused([]) == refused(["README"]) == f"{kinds} nothing. {needed}"
    assert refused(["b.txt.gz", "a.PARQUET", "x.zip", "c"]) == f"{kinds} .parquet, .txt, .zip. {needed}"
    many = [f"{number:02}.csv" for number in range(12)]
    ten = ", ".join(many[:10])
    assert refused(many[:10], "x") == f"the data set a/b has no file of a config 'x'; its files are {ten}"
    assert refused(many[:11], split="test") == (
        f"the data set a/b has no file of a split 'test'; its files are {ten} and 1 more"
    )
    assert refused(["test.csv"]) == "the data set a/b has no file of a split 'train'; its files are test.csv"


def test_why_a_data_set_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    hand = ". To provide it by hand, download its files where that is possible, and pass them"
    terms = errors.GatedRepoError.__new__(errors.GatedRepoError)
    for error, why in (
        (terms, "its terms must be accepted on its page first, then log in with `hf auth login`"),
        (ValueError("first line\nsecond"), "first line"),
        (ValueError(), "ValueError"),
    ):
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", Mock(side_effect=error))
        with pytest.raises(SourceError) as refused:
            hub.fetched("hub:a/b", (".csv",))
        assert str(refused.value) == f"the data set a/b could not be fetched: {why}{hand}"
    for name in ("hub:a", "hub:a/b/c", "hub:a/b:c:d:e", "hub:.a/b", "hub:ä/b"):
        with pytest.raises(SourceError) as refused:
            hub.fetched(name, (".csv",))
        assert str(refused.value) == (
            f"{name!r} is no data set of the hub; write hub:org/name, hub:org/name:config:split"
        )
