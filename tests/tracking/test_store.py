"""The store's SQLite file: whole or absent, where its folder is, readable where nothing can be written."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

import mergerexp.aggregate
from mergerexp.config.schema import TrackingConfig
from mergerexp.errors import StoreError, UserError
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.store import open_store
from mergerexp.tracking.store_file import StoreFile
from tests.studies import add_run, add_study, empty_store

KILLED_IN_A_MIGRATION = """
import os, signal, sys
import sqlalchemy
from mergerexp.config.schema import TrackingConfig
from mergerexp.tracking.record import open_store

left = 120
@sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
def count(connection, cursor, statement, parameters, context, many):
    global left
    left -= not statement.lstrip().startswith(("PRAGMA", "SELECT"))
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

open_store(TrackingConfig(uri=sys.argv[1], experiment="e", artifacts=None, retry_s=0.0))
"""


def tracking(root: Path, experiment: str = "mergerexp") -> TrackingConfig:
    uri = f"sqlite:///{root / 'mlflow.db'}"
    return TrackingConfig(uri=uri, experiment=experiment, artifacts=None, retry_s=0.0)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose store was being made when its maker was killed; what was made so far is in ``scratch``."""
    root = tmp_path_factory.mktemp("killed")
    (root / "scratch").mkdir()
    script = [sys.executable, "-c", KILLED_IN_A_MIGRATION, f"sqlite:///{root / 'mlflow.db'}"]
    done = subprocess.run(script, env={**os.environ, "TMPDIR": str(root / "scratch")})
    assert done.returncode == -signal.SIGKILL
    return root


@pytest.mark.slow
def test_a_kill_while_the_store_is_made_leaves_none(killed):
    assert not (killed / "mlflow.db").exists()
    client, _ = open_store(tracking(killed, "e"))
    assert client.get_experiment_by_name("e") is not None


@pytest.fixture(params=["half made", "no database", "cut", "one page overwritten"])
def broken(request, killed, study_root, tmp_path) -> Path:
    """A root with a store that can't be used."""
    path = tmp_path / "mlflow.db"
    if request.param == "half made":
        (half,) = (killed / "scratch").rglob("mlflow.db")
        shutil.copy(half, path)
    elif request.param == "no database":
        path.write_text("<html>404</html>" * 100)
    else:
        content = bytearray((study_root / "mlflow.db").read_bytes())
        if request.param == "cut":
            content = content[: len(content) // 2 + 100]
        else:
            content[40960:45056] = bytes(4096)
        path.write_bytes(content)
    return tmp_path


def test_a_broken_store_is_named_before_anything_starts(broken, train, run_verb, capsys):
    before = (broken / "mlflow.db").read_bytes()
    for verb in (train, functools.partial(run_verb, mergerexp.aggregate)):
        assert verb() == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"error: {broken / 'mlflow.db'} ")
        assert "move it away" in line
    assert not (broken / "runs").exists()
    assert (broken / "mlflow.db").read_bytes() == before


def test_a_store_that_breaks_meanwhile_is_told_in_the_end(train, tmp_path, capsys, monkeypatch):
    from mergerexp.training.stage import Stage

    step = Stage.training_step

    def spoil(self, batch, batch_idx):
        (tmp_path / "mlflow.db").write_bytes(b"not a database, " * 512)
        return step(self, batch, batch_idx)

    shutil.copy(empty_store(), tmp_path / "mlflow.db")
    monkeypatch.setattr(Stage, "training_step", spoil)
    assert train("trainer.max_epochs=1") == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'mlflow.db'} is damaged" in said
    assert "MLflow lacks all or part of 1 of 1 runs" in said
    (tmp_path / "mlflow.db").unlink()
    monkeypatch.setattr(Stage, "training_step", None)
    assert train("trainer.max_epochs=1") == 0
    client, _ = open_store(tracking(tmp_path))
    assert [run.info.status for run in client.search_runs(["1"])] == ["FINISHED"]


def test_the_journal_of_a_lost_store_is_not_played_back_into_the_next(tmp_path):
    """SQLite would: a writer was killed, then somebody removed the database and left its journal."""
    lost = tmp_path / "mlflow.db"
    shutil.copy(empty_store(), lost)
    script = (
        "import os, sqlite3, sys\n"
        "store = sqlite3.connect(sys.argv[1])\n"
        "store.execute('PRAGMA cache_size = 1')\n"  # pages are written, and the journal, before the end
        "store.execute('CREATE TABLE t (x)')\n"
        "store.executemany('INSERT INTO t VALUES (?)', ([b'x' * 5000] for _ in range(100)))\n"
        "os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", script, str(lost)])
    assert (tmp_path / "mlflow.db-journal").stat().st_size > 0
    lost.unlink()
    before = os.umask(0o002)
    try:
        client, _ = open_store(tracking(tmp_path))
    finally:
        os.umask(before)
    assert client.get_experiment_by_name("mergerexp") is not None
    assert lost.stat().st_mode & 0o777 == 0o664  # a group that shares the root can write
    with closing(sqlite3.connect(lost)) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["a%20b", "50%", "a?b", "a#b", "my files", "äöü", "it's", 'a"b', "a;b", "a@b:c", "a&b=c"]
)
def test_a_root_may_have_any_name(name, tmp_path):
    root = tmp_path / name
    client, uri = open_store(tracking(root))
    assert uri == f"sqlite:///{root}/mlflow.db"
    run = client.create_run(client.get_experiment_by_name("mergerexp").experiment_id)
    client.log_text(run.info.run_id, "content", "file.txt")
    again, _ = open_store(tracking(root), create=False)
    assert Path(again.download_artifacts(run.info.run_id, "file.txt")).read_text() == "content"
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing was written beside the root
    assert StoreFile.of(uri).exists()


def test_the_options_of_an_address_are_no_part_of_the_path(tmp_path):
    file = StoreFile.of(f"sqlite:///{tmp_path}/a?b/mlflow.db?timeout=30")
    assert (file.path, file.options) == (tmp_path / "a?b" / "mlflow.db", "?timeout=30")
    assert file.address.endswith("/a%3Fb/mlflow.db?timeout=30")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moved", "copied"])
def test_artifacts_are_where_the_store_is_now(how, tmp_path):
    old, new = tmp_path / "a root", tmp_path / "another"
    add_study(old, ["imagenet"], [1.0])
    (old.rename if how == "moved" else functools.partial(shutil.copytree, old))(new)
    reader = MlflowReader(tracking(new))
    study = reader.with_predictions(reader.find())
    assert study.gaps == []
    for run in MlflowClient(reader.uri).search_runs([study.experiment_id]):
        assert run.info.artifact_uri.startswith(f"{new.as_uri()}/mlartifacts/")
    add_run(new, "init=imagenet", "fold=0", "seed=1")
    assert len(list((new / "mlartifacts").iterdir())) == 5
    assert old.exists() == (how == "copied")
    assert how == "moved" or len(list((old / "mlartifacts").iterdir())) == 4


def test_another_path_to_the_same_store_is_no_move(tmp_path):
    root, link = tmp_path / "root", tmp_path / "link"
    add_run(root, "init=imagenet", "fold=0")
    link.symlink_to(root)
    before = (root / "mlflow.db").read_bytes()
    reader = MlflowReader(tracking(link))
    assert len(reader.find().runs) == 1
    assert StoreFile.of(tracking(link).uri).moved_from() == []
    assert (root / "mlflow.db").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("how", ["in place", "moved"])
def test_a_study_is_read_where_nothing_can_be_written(how, tmp_path):
    root = tmp_path / "root"
    add_study(root, ["imagenet"], [1.0])
    if how == "moved":
        root = root.rename(tmp_path / "moved")
    script = (
        "import sys; from mergerexp.config.schema import TrackingConfig\n"
        "from mergerexp.tracking.mlflow_reader import MlflowReader\n"
        "store = {'uri': sys.argv[1], 'experiment': 'mergerexp', 'artifacts': None, 'retry_s': 0.0}\n"
        "reader = MlflowReader(TrackingConfig(**store))\n"
        "study = reader.with_predictions(reader.find())\n"
        "print(len(study.runs), study.gaps)\n"
        "reader.check_writable()"
    )
    command = [sys.executable, "-c", script, tracking(root).uri]
    if os.getuid() == 0:  # whom permissions bind only without this power
        if not shutil.which("setpriv"):
            pytest.skip("root can write everywhere, and there is no setpriv to take that from it")
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]
    for path in (root, *root.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        for path in (root, *root.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.stdout == "4 []\n", done.stderr
    assert done.stderr.splitlines()[-1].endswith("can't be written, and what is measured is kept there")
    assert not list(root.glob("mlflow.db?*"))


def test_a_colleagues_store_that_can_not_be_written_is_named(tmp_path, monkeypatch):
    shutil.copy(empty_store(), tmp_path / "mlflow.db")
    monkeypatch.setattr(StoreFile, "is_writable", lambda self: False)
    with pytest.raises(StoreError, match=r"can't be written \(it belongs to"):
        open_store(tracking(tmp_path))


@pytest.mark.slow
def test_what_the_store_lacks_is_told_with_the_remedy(tmp_path, run_verb, capsys):
    add_study(tmp_path, ["imagenet"], [1.0])
    client = MlflowClient(tracking(tmp_path).uri)
    run = client.search_runs(["1"])[0]
    client.delete_run(run.info.run_id)
    assert run_verb(mergerexp.aggregate) == 2
    said = capsys.readouterr().err
    assert "is not in MLflow" in said
    assert "python -m mergerexp.status --sync" in said
    with pytest.raises(UserError, match="status --sync"):
        MlflowReader(tracking(tmp_path, "nothing"))
