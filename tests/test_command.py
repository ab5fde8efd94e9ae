"""``mergerexp VERB``: the same as ``python -m mergerexp.VERB``, with a list of verbs and completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mergerexp.__main__ import VERBS
from tests.conftest import REPOSITORY


def say(*arguments: str, line: str | None = None) -> subprocess.CompletedProcess[str]:
    completing = {} if line is None else {"COMP_LINE": line}
    command = [sys.executable, "-m", "mergerexp", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **completing})


def test_all_verbs_are_listed():
    modules = {
        path.stem
        for path in (REPOSITORY / "mergerexp").glob("*.py")
        if re.search(r"^def main\(", path.read_text(), re.MULTILINE) and path.stem != "__main__"
    }
    assert modules == VERBS.keys()
    said = say()
    assert said.returncode == 0
    assert all(f"  {verb} " in said.stdout for verb in VERBS)
    assert say("--help").stdout == said.stdout


@pytest.mark.parametrize("verb", [(), ("train",), ("status",)], ids=lambda verb: " ".join(verb) or "none")
def test_the_versions_are_those_that_a_bug_report_needs(verb):
    ours, others = say(*verb, "--version").stdout.splitlines()
    assert re.fullmatch(r"mergerexp \d[\w.]*", ours)
    found = dict(part.split(" ", 1) for part in others.split(", ")[:-1])
    assert found.keys() == {"python", "torch", "timm", "pytorch-lightning", "hydra-core", "mlflow"}
    assert all(number[0].isdigit() for number in found.values())


def test_the_versions_are_shown_without_loading_the_packages():
    script = (
        "import sys, mergerexp.software as s; s.version_text(); "
        "sys.exit(bool({'torch', 'timm', 'mlflow', 'hydra'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_verb_runs_as_its_module_does(tmp_path):
    said = say("train", "--cfg", "job", "fold=3", "-p", "split")
    assert said.stdout == "# @package split\nfolds: 4\nseed: 0\nsubset_of: all\nnegatives: all\n"
    refused = say("train", "fold=7")
    assert (refused.returncode, refused.stderr) == (2, "error: fold=7: split.folds=4 allows 0 to 3\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", "fold=1"], "trian: no such verb; did you mean train?"),
        (
            ["rate"],
            "rate: no such verb; choose one of prepare, train, status, robustness, aggregate, export,",
        ),
        (["-m", "fold=1,2"], "-m: no such verb; choose one of"),
        (["--shell-completion"], "--shell-completion: add install=bash, install=zsh or install=fish"),
        (["-sc", "install=tcsh"], "--shell-completion: add install=bash, install=zsh or install=fish"),
    ],
)
def test_mistakes_get_one_line(arguments, message):
    said = say(*arguments)
    assert said.returncode == 2
    assert said.stderr.startswith(f"error: {message}")
    assert said.stderr.count("\n") == 1


def words(line: str) -> set[str]:
    said = say("-sc", "query=bash", line=line)
    assert (said.returncode, said.stderr) == (0, "")
    return set(said.stdout.split())


def test_verbs_overrides_and_flags_are_completed():
    assert words("mergerexp ") == VERBS.keys() == words("mergerexp tr")
    assert words("") == VERBS.keys()
    assert "init=" in words("mergerexp train ini") & words("/opt/train/bin/mergerexp train ini")
    assert {"init=imagenet", "init=random"} <= words("mergerexp train -m fold=0,1 init=")
    assert {"--watch", "--sync"} <= words("mergerexp status --w")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shells_script_completes_our_command(shell):
    said = say("--shell-completion", f"install={shell}")
    assert said.returncode == 0
    assert re.search(r"complete .*\bmergerexp\b", said.stdout)


def test_a_real_shell_completes():
    installed = Path(sys.executable).with_name("mergerexp")
    if not installed.exists():
        pytest.skip("this environment has no mergerexp command: the package is not installed in it")
    script = """
eval "$(mergerexp --shell-completion install=bash)"
complete -p mergerexp >&2
COMP_LINE=$1 COMP_CWORD=$2 hydra_bash_completion && echo "${COMPREPLY[@]}"
"""
    path = os.pathsep.join([str(installed.parent), os.environ["PATH"]])
    for line, position, answer in (
        ("mergerexp st", 1, "status"),
        ("mergerexp train model=n", 2, "model=nonparametric"),
    ):
        command = ["bash", "-c", script, "bash", line, str(position)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
        assert "hydra_bash_completion mergerexp" in done.stderr
        assert done.stdout.split()[0] == answer
