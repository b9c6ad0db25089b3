"""What all tests share."""

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

# The same examples in every run, so that a change is judged by the change; all that Python's own luck finds is looked
# for by LIMELIGHT_TEST_ALL=1.
settings.register_profile("same", derandomize=not os.environ.get("LIMELIGHT_TEST_ALL"), deadline=None)
settings.load_profile("same")

# A shell's background jobs ignore Ctrl-C and hand that on to their children; tests that press it would wait forever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny models lose more by waiting for a second thread than they gain, and other tests run beside these."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama: 3 layers of 4 heads."""
    from cli.tiny_models import random_llama

    return random_llama(tmp_path_factory)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two trainings that translate: a Transformer and a recurrent model."""
    from tasks.small_languages import language, network

    from limelight.checkpoints.save import save_checkpoint

    folder = tmp_path_factory.mktemp("runs")
    for name in ("transformer-modern-tiny", "lstm-attention"):
        save_checkpoint(network(name), language().target, folder / name / "model")
        (folder / name / "settings.toml").write_text("", "utf-8")
    return folder


@pytest.fixture(scope="session")
def encoders(runs: Path) -> dict[str, str]:
    """Tiny encoders of each kind by what they do with a text, as they are named in the server's list."""
    from references import saved, write_marked_tokenizer

    kinds = {"masked": "masked", "tags": "tokens", "classes": "classes", "span": "spans", "near": "states"}
    found = {}
    for kind, name in kinds.items():
        folder = runs / "encoders" / kind / "model"
        folder.mkdir(parents=True)
        saved(f"bert-{name}", folder)
        write_marked_tokenizer(folder)
        (folder.parent / "settings.toml").write_text("", "utf-8")
        found[kind] = str(folder.parent)
    return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A running Chromium; it is never installed by a test. Playwright keeps an event loop running in this thread, so
    it ends with the module. Where LIMELIGHT_TEST_BROWSER is set, a missing browser is a failure and not a skip."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    missing = None
    if importlib.util.find_spec("playwright") is None:
        missing = "playwright is not installed"
    elif path is None:
        missing = "there is no Chromium on the path"
    if missing and os.environ.get("LIMELIGHT_TEST_BROWSER"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
