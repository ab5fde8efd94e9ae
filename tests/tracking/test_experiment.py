"""What a person sees in MLflow: names, columns, pictures and descriptions, and why it refuses."""

from __future__ import annotations

import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from mergerexp.config.call import Cell
from mergerexp.config.compose import compose_cell
from mergerexp.config.schema import TrainConfig
from mergerexp.errors import StoreError, UserError
from mergerexp.files import read_json, write_json
from mergerexp.study.plan import Planner
from mergerexp.tracking.experiment import VIEW_TAG, describe_experiment, ways_to_runs
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.pending import Record, Standing, complete_records, configured_tracking
from mergerexp.tracking.run_figures import run_figures
from tests.studies import add_run


def test_classes_with_dollar_signs_are_drawn_as_they_are(tmp_path):
    run = add_run(tmp_path, "init=imagenet", "fold=0", "tracking=none")
    provenance = read_json(run.provenance)
    provenance["data"] |= {"positive": "m$_{$", "negative": "$x^{$"}
    write_json(run.provenance, provenance)
    (tmp_path / "figures").mkdir()
    run_figures(run, tmp_path / "figures")
    assert {path.name for path in (tmp_path / "figures").iterdir()} >= {
        "confusion_matrix.png",
        "examples.png",
    }


def test_the_way_to_the_table_of_runs(tmp_path, monkeypatch):
    page = "#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=mergerexp"
    assert ways_to_runs("http://host:5000/", "7") == [f"Runs in MLflow: http://host:5000/{page}"]
    program = tmp_path / "mlflow"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    command, address = ways_to_runs("sqlite:////my files/mlflow.db", "7")
    assert command == "Runs in MLflow: mlflow ui --backend-store-uri 'sqlite:////my files/mlflow.db'"
    assert address.endswith(f"open http://127.0.0.1:5000/{page}")
    program.unlink()  # the environment is not activated
    command, _ = ways_to_runs("sqlite:///mlflow.db", "7")
    installed = Path(sys.executable).with_name("mlflow")
    assert installed.is_file() and f" {installed} ui " in command


def test_a_description_gets_new_commands_and_keeps_what_was_added():
    first = describe_experiment(None, "rings", "train -m fold=0")
    assert first is not None and "tracking.experiment=rings" in first
    assert describe_experiment(first, "rings", "train -m fold=0") is None
    second = describe_experiment(f"{first}Ask Ann.", "rings", "train -m fold=1")
    assert second is not None and second.endswith("Ask Ann.")
    assert "\ntrain -m fold=0\ntrain -m fold=1\n```" in second
    assert describe_experiment(second, "rings", 5000 * "x") is None  # too long for MLflow


def test_the_columns_of_the_table_are_filled_and_pictures_drawn(tmp_path):
    run = add_run(tmp_path, "init=imagenet", "subset=0.3", "fold=2", "seed=7", figures=True)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (found,) = client.search_runs(["1"])
    fingerprint = run.name.rpartition("-")[2]
    assert found.info.run_name == (f"imagenet s0.3 f2 seed7 efficientnet_lite0 simulated_small {fingerprint}")
    tags = found.data.tags
    assert tags["mergerexp.run_folder"] == run.name
    assert (tags["mlflow.source.name"], tags["mlflow.source.git.commit"]) == ("mergerexp.train", "0123abc")
    assert tags["mlflow.user"] == run.path.owner()
    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("simulated_small", 12 * "c")
    figures = [file.path for file in client.list_artifacts(found.info.run_id, "figures")]
    assert figures == [f"figures/{name}.png" for name in ("confusion_matrix", "examples", "learning_curves")]
    for name in figures:
        with Image.open(client.download_artifacts(found.info.run_id, name)) as picture:
            assert min(picture.size) > 300


def test_the_experiment_says_how_its_runs_were_made(tmp_path):
    for fold in (0, 1):
        add_run(tmp_path, "init=random", f"fold={fold}")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tags = client.get_experiment("1").tags
    assert tags["mlflow.note.content"].count("\ntrain\n") == 1  # the command of both
    assert "python -m mergerexp.aggregate tracking.experiment=mergerexp" in tags["mlflow.note.content"]
    assert VIEW_TAG in tags
    client.set_experiment_tag("1", "mlflow.note.content", "Mine.")
    add_run(tmp_path, "init=random", "fold=2")
    assert client.get_experiment("1").tags["mlflow.note.content"] == "Mine."


def test_the_record_of_an_older_version_is_brought_up_to_date(tmp_path):
    run = add_run(tmp_path, "init=random", "fold=0", figures=True)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (found,) = client.search_runs(["1"])
    client.update_run(found.info.run_id, name=run.name)
    client.delete_experiment_tag("1", VIEW_TAG)
    shutil.rmtree(tmp_path / "mlartifacts" / found.info.run_id / "artifacts" / "figures")
    assert complete_records([run], ask=True) == Standing(begun=1)
    (again,) = client.search_runs(["1"])
    assert again.info.run_id == found.info.run_id
    assert again.info.run_name == found.info.run_name
    assert len(client.list_artifacts(found.info.run_id, "figures")) == 3
    assert VIEW_TAG in client.get_experiment("1").tags
    client.update_run(found.info.run_id, name="the best one")
    complete_records([run], ask=True)
    assert client.get_run(found.info.run_id).info.run_name == "the best one"


def test_a_deleted_experiment_has_to_be_restored(tmp_path, caplog):
    run = add_run(tmp_path, "init=random", "fold=0")
    MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").delete_experiment("1")
    keeper = Record(run, configured_tracking(run))
    assert keeper.update(final=True, ask=True) is False
    assert keeper.broken
    with pytest.raises(StoreError, match="was deleted"):
        Planner(None).plan([Cell((), compose_cell("train", [f"paths.root={tmp_path}"], TrainConfig), "")])
    assert "was deleted: restore it with" in caplog.text
    assert "restore --experiment-id 1" in caplog.text


@pytest.mark.parametrize(("status", "said"), [(401, "does not accept the name"), (403, "does not let this")])
def test_a_server_that_refuses_the_user_is_no_server_that_is_down(status, said, tmp_path, caplog):
    run = add_run(tmp_path, "init=random", "fold=0", "tracking=none")

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"You are not authenticated.")

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        keeper = Record(run, configured_tracking(run, uri))
        assert keeper.update(final=True) is False
        with pytest.raises(UserError, match=said):
            MlflowReader(keeper.tracking)
        server.shutdown()
    assert keeper.broken
    assert said in caplog.text and "later" not in caplog.text
