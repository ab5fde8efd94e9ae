"""Environments of the peers, each of its own, which are made once and kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1] / "peers"
# What pip installs for each. pydftools is not maintained, and wants these old versions. For Zoobot it is what
# its extra "pytorch" names, without torchaudio, which it does not import.
PACKAGES = {
    "torch": ["torch", "torchvision", "timm"],
    "keras": ["keras", "torch"],
    "zoobot": ["zoobot", "torch", "torchvision", "timm", "lightning", "torchmetrics", "litmodels"],
    "hydra": ["hydra-submitit-launcher", "setuptools", "torch", "timm", "pytorch-lightning"],
    "pydftools": ["pydftools", "setuptools", "attrs==19.1.0", "numpy<1.24", "scipy<1.11", "matplotlib<3.8"],
}
INSTALL_S = 1800


class PeerMissing(Exception):
    """A peer can't be measured here; the message says why."""


@dataclass
class Peers:
    """The Pythons of the peers.

    Attributes
    ----------
    folder
        The folder for their environments.
    given
        The Pythons of environments that are there already, by the name of the peer.
    failed
        Why peers could not be installed, by their names.
    versions
        The versions that the scripts of peers have told.
    """

    folder: Path
    given: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)

    def python(self, name: str) -> str:
        """Return the Python of a peer; install the peer first if it is not there.

        Raises
        ------
        PeerMissing
            If it can't be installed.
        """
        if name in self.given:
            return self.given[name]
        home = self.folder / name
        if name in self.failed:
            raise PeerMissing(self.failed[name])
        if not (home / "complete").exists():
            print(f"  installing {', '.join(PACKAGES[name])}, once", flush=True)
            try:
                self._install(home, PACKAGES[name])
            except PeerMissing as reason:
                self.failed[name] = str(reason)
                raise
        return str(home / "bin" / "python")

    def _install(self, home: Path, packages: list[str]) -> None:
        try:
            subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True)
            pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages]
            done = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_S)
            if done.returncode:
                raise PeerMissing(f"pip can't install it: {last_line(done.stderr)}")
            (home / "complete").touch()
        except (OSError, subprocess.SubprocessError) as error:
            raise PeerMissing(f"it can't be installed: {error}") from error
        finally:
            if not (home / "complete").exists():
                shutil.rmtree(home, ignore_errors=True)

    def measure(self, name: str, script: str, *arguments: object, **variables: str) -> dict[str, Any]:
        """Run a script of ``benchmarks/peers`` with a peer's Python, and return the JSON that it prints.

        Parameters
        ----------
        name
            The name of the peer.
        script
            The name of the script.
        *arguments
            Its arguments.
        **variables
            Environment variables.

        Raises
        ------
        PeerMissing
            If the peer can't be installed or fails.
        """
        said = run_json(self.python(name), str(SCRIPTS / script), *arguments, **variables)
        self.versions[name] = said.get("versions", said.get("version"))
        return said


def run_json(*command: object, **variables: str) -> dict[str, Any]:
    """Run a command, and return the JSON of the last line that it prints.

    Raises
    ------
    PeerMissing
        If it fails.
    """
    words, environment = [str(word) for word in command], {**os.environ, **variables}
    if words[0] != sys.executable:
        environment.pop("PYTHONPATH", None)  # a peer must not find our packages
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise PeerMissing(f"{' '.join(words[1:3])} failed: {last_line(done.stderr)}")
    try:
        return dict(json.loads(last_line(done.stdout)))
    except ValueError as error:
        raise PeerMissing(f"{' '.join(words[1:3])} printed no result: {last_line(done.stdout)}") from error


def last_line(text: str) -> str:
    """Return the last line of an error's output."""
    return (text.strip().splitlines() or ["no message"])[-1][:1000]
