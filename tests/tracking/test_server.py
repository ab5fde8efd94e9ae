"""launchers/mlflow_server.sh: no open door."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tests.conftest import REPOSITORY

SCRIPT = [str(REPOSITORY / "launchers" / "mlflow_server.sh")]
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Run a server that listens on all interfaces; give its address and its folder."""
    folder = tmp_path_factory.mktemp("server") / "a%20b? c"  # what SQLAlchemy would read as something else
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*SCRIPT, "--dir", str(folder), "--workers", "1", "--host", "0.0.0.0", "--port", str(port)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 600
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            break
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}", folder
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


@pytest.mark.slow
def test_other_interfaces_ask_for_the_password(server, monkeypatch):
    address, folder = server
    password = folder / "password"
    assert password.stat().st_mode & 0o077 == 0
    assert {path.name for path in folder.iterdir()} >= {"mlflow.db", "auth.db"}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password.read_text().strip())
    assert MlflowClient(address).create_experiment("rings")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "password1234")  # MLflow's own default
    with pytest.raises(MlflowException):
        MlflowClient(address).create_experiment("lenses")


def test_a_port_that_is_taken_is_named_in_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [*SCRIPT, "--dir", str(tmp_path / "server"), "--port", port]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"port {port} of 127.0.0.1 can't be used (Address already in use): ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags", [("--port", "70000"), ("--port", "http"), ("--host", "no such host")])
def test_an_interface_that_is_none_is_named_in_one_line(flags, tmp_path):
    command = [*SCRIPT, "--dir", str(tmp_path / "server"), *flags]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert flags[1] in line
    assert "can't be used" in line
