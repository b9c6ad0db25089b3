"""What tests of Hugging Face's hub share: a server on this machine's loopback stands in for it."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import file_download  # here, since its log writes to the standard error of its first import

constants = file_download.constants


@contextmanager
def only_hub(server: ThreadingHTTPServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server runs and is the only hub there is; the cache is in `folder`, and nobody is logged in."""
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    # The library reads these from the environment (HF_ENDPOINT, HF_HOME, HF_TOKEN_PATH) when it is imported.
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def blob(content: bytes) -> str:
    """What the hub calls a file's content: git's hash of it."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
