"""What all tests share."""

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch

# A shell's background jobs ignore Ctrl-C and hand that on to their children; tests that press it would wait forever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny models lose more by waiting for a second thread than they gain, and other tests run beside these."""
    torch.set_num_threads(1)


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
