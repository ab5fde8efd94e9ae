"""MLflow's own pages in a real browser, by the addresses that the verbs print."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from mergerexp.tracking.experiment import ways_to_runs
from tests.studies import add_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Show a store with one run by ``mlflow ui``, and give its address."""
    root = tmp_path_factory.mktemp("root")
    add_run(root, "init=imagenet", "subset=0.3", "fold=2")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--port", str(port)]
    store = f"sqlite:///{root / 'mlflow.db'}"
    with (root / "log.txt").open("w") as log:
        process = subprocess.Popen([*command, "--backend-store-uri", store], cwd=root, stdout=log, stderr=log)
    deadline = time.monotonic() + 600
    while not _answers(port):
        assert process.poll() is None, Path(log.name).read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_printed_address_shows_the_columns_that_matter(browser: Chrome, server: str):
    browser.set_window_size(1900, 900)
    (line,) = ways_to_runs(server, "1")
    browser.get(line.removeprefix("Runs in MLflow: "))
    headers = {"init.name", "subset", "fold", "test/error", "test/auroc", "train/n_balanced", "Dataset"}

    def shown(_: object) -> bool:
        text = browser.find_element(By.TAG_NAME, "body").text.splitlines()
        return headers <= set(text) and any(line.startswith("imagenet s0.3 f2 ") for line in text)

    WebDriverWait(browser, 240).until(shown)
    page = browser.find_element(By.TAG_NAME, "body").text
    assert "simulated_small" in page
    assert "The commands that made these runs" in page
