"""Two real users of one root, a folder of their group (setgid): with umask 002 and with 022."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, TINY

ANNE, BO, GROUP = 12001, 12002, 12000
SWEEP = ("-m", "hydra/launcher=local")
HERE = ("-m", "hydra/launcher=basic")
# One process loads everything, by calls of root's, and forks a child for each call of a user's: that takes
# longer than the calls do, and a user may not be able to read root's Python.
DRIVER = """
import json, os, sys, traceback
import mergerexp.train

def call(root, arguments):
    os.environ["MERGEREXP_ROOT"], os.environ["HOME"] = root, root + "/home-" + str(os.getuid())
    sys.argv = ["train", *arguments]
    try:
        mergerexp.train.main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    except BaseException:
        traceback.print_exc()
    return 70

answers = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    uid, umask, log, root, arguments = json.loads(line)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1), os.dup2(out, 2)
    if uid == 0:
        code = call(root, arguments)
    elif child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    else:
        os.setgroups([]), os.setgid(GROUP), os.setuid(uid), os.umask(umask)
        code = call(root, arguments)
        sys.stderr.flush()
        os._exit(code)
    print(code, file=answers, flush=True)
""".replace("GROUP", str(GROUP))


class Users:
    """Runs the train verb as one of two users."""

    def __init__(self, folder: Path, galaxies: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": "/tmp"}
        self.folder, self.galaxies = folder, galaxies
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, cwd=folder,
        )  # fmt: skip

    def root(self, name: str) -> Path:
        """Make a folder of the group."""
        root = self.folder / name
        root.mkdir(exist_ok=True)
        os.chown(root, ANNE, GROUP)
        root.chmod(0o2775)
        return root

    def train(self, uid: int, umask: int, root: Path, *arguments: str) -> tuple[int, str]:
        """Return exit code and output."""
        log = self.folder / "log"
        data = ["data=folder", f"data.root={self.galaxies}", "trainer.max_epochs=1"]
        tiny = [override for override in TINY if "max_epochs" not in override]
        call = [uid, umask, str(log), str(root), [*arguments, *data, *tiny]]
        assert self.process.stdin and self.process.stdout
        print(json.dumps(call), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline()), log.read_text()


@pytest.fixture(scope="module")
def users(galaxies) -> Iterator[Users]:
    if os.getuid() != 0:
        pytest.skip("only root can be two users")
    folder = Path(tempfile.mkdtemp(prefix="mergerexp-users-"))  # pytest's own folders are root's alone
    folder.chmod(0o755)
    shutil.copytree(galaxies, folder / "galaxies")
    (folder / "galaxies").chmod(0o755)
    own = Users(folder, folder / "galaxies")
    for name, how in (
        ("first", ()),
        ("second", ()),
        ("second", SWEEP),
    ):  # with all loaded, some goes otherwise
        code, said = own.train(0, 0o022, own.root(name), *how, "fold=0")
        assert code == 0, said
    yield own
    own.process.communicate()
    shutil.rmtree(folder)


def test_umask_002_two_users_work_together(users):
    root = users.root("together")
    code, said = users.train(ANNE, 0o002, root, "fold=0")
    assert code == 0, said
    code, said = users.train(BO, 0o002, root, *HERE, "fold=0,1")
    assert (code, "done before" in said) == (0, True), said
    code, said = users.train(ANNE, 0o002, root, *SWEEP, "fold=0,1")
    assert (code, "2 done before, 0 to start" in said) == (0, True), said
    for folder in (root / "runs").iterdir():  # Bo damages Anne's run and the other way round
        (folder / "metrics.json").unlink()
    code, said = users.train(BO, 0o002, root, *HERE, "fold=0,1")
    assert code == 0, said
    code, said = users.train(BO, 0o002, root, *SWEEP, "fold=0,1")
    assert (code, "2 done before, 0 to start" in said) == (0, True), said
    assert "completed later" not in said
    code_of_sweeps = next((root / "sweeps").glob("code-*"))
    for path in root.rglob("*"):
        mode, ours = path.lstat().st_mode, not path.is_relative_to(root / f"home-{BO}")
        if path.is_relative_to(code_of_sweeps):
            assert not mode & stat.S_IWGRP, path
        elif ours and not path.is_relative_to(root / f"home-{ANNE}"):
            assert mode & stat.S_IWGRP, path
            assert path.stat().st_gid == GROUP


def test_umask_022_says_whose_it_is_and_what_is_done_is_done(users):
    root = users.root("apart")
    code, said = users.train(ANNE, 0o022, root, "fold=0")
    assert code == 0, said
    assert users.train(ANNE, 0o022, root, *SWEEP, "fold=0")[0] == 0
    for how in (SWEEP, ()):
        code, said = users.train(BO, 0o022, root, *how, "fold=0")
        assert (code, "done before" in said) == (0, True), said
        code, said = users.train(BO, 0o022, root, *how, "fold=1")
        (line,) = [line for line in said.splitlines() if "belongs to" in line]
        assert code != 0 and f"user {ANNE}" in line and "umask 002" in line and "Traceback" not in said
    root.chmod(0o755)  # nor may Bo write in the root itself
    code, said = users.train(BO, 0o022, root, *SWEEP, "fold=0")
    assert (code, "done before" in said) == (0, True), said
    code, said = users.train(BO, 0o022, root, *SWEEP, "fold=1")
    (line,) = [line for line in said.splitlines() if line.startswith("error")]
    assert (code, f"user {ANNE}" in line) == (2, True)
