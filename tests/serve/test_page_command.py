"""``limelight page`` and ``limelight look --html``."""

import gc
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli.tiny_models import SENTENCE

from limelight.cli import main
from limelight.errors import LimelightError
from limelight.serve.run import listen, serve
from limelight.serve.session import PageSession


def test_the_page_is_served_until_interrupted(tiny: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "LIMELIGHT_HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "limelight", "page", "-m", str(tiny), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as page:
        timer = threading.Timer(60, page.kill)
        timer.start()
        assert page.stdout is not None
        found = re.search(r"http://(127\.0\.0\.1:\d+)/", page.stdout.readline())
        assert found
        connection = http.client.HTTPConnection(found[1], timeout=30)
        connection.request("GET", "/api/models")
        assert json.loads(connection.getresponse().read())["first"] == str(tiny)
        connection.close()
        page.send_signal(signal.SIGINT)
        _, complaints = page.communicate(timeout=30)
        timer.cancel()
        assert complaints == ""


def test_a_taken_port_is_said_in_one_line(server: str, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = server.rstrip("/").rpartition(":")[2]
    with pytest.raises(SystemExit) as ended:
        main(["page", "--port", port, "--no-browser", "-m", str(tiny)])
    assert ended.value.code == 1
    assert "choose another --port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--host", "no.such.host.invalid"), "--host names an address of this machine"),
        (("--host", "203.0.113.7"), "--host names an address of this machine"),  # an address of nobody, for examples
        (("--model", "no such model"), "no model is called"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_printed(
    args: tuple[str, ...], message: str, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["page", "--no-browser", "-m", str(tiny), *args])
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_a_model_that_cannot_be_opened_ends_the_page(tiny: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in tiny.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes() if file.suffix != ".safetensors" else b"no weights")
    command = [sys.executable, "-m", "limelight", "page", "-m", str(damaged), "--no-browser"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"limelight: .*model\.safetensors.*\n", done.stderr)


def test_garbage_is_looked_for_again_once_the_model_was_opened(tmp_path: Path) -> None:
    with pytest.raises(LimelightError):
        serve(listen("127.0.0.1", None), PageSession(str(tmp_path / "nothing")), None, open_browser=False)
    assert gc.isenabled()
    gc.unfreeze()


def test_look_writes_a_file(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cat.html"
    with pytest.raises(SystemExit) as ended:
        main(["look", SENTENCE, "-m", str(tiny), "--word", "it", "--not", "she", "--no-continue", "--html", str(file)])
    assert ended.value.code == 0
    assert "opens in any browser" in capsys.readouterr().out
    text = file.read_text("utf-8")
    found = re.search(r'id="data">(.*?)</script>', text)
    assert found
    data = json.loads(found[1])
    assert data["importance"]["word"] == 7
    assert data["state"]["foil"] == "she"
    assert not re.search(r"""(src|href)=["']""", text)  # nothing to fetch


def test_a_file_that_cannot_be_written_is_said_in_one_line(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["look", SENTENCE, "-m", str(tiny), "--no-continue", "--html", str(tmp_path / "none" / "cat.html")])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("limelight: cannot write ")
