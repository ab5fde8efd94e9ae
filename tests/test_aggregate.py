"""The aggregate verb: from MLflow alone to the study folder, and what it refuses."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

import mergerexp.aggregate
from mergerexp.config.schema import TrackingConfig
from mergerexp.files import read_json
from mergerexp.report import aggregation
from mergerexp.report.figures.style import FORMATS
from mergerexp.runs.job_folder import FAILED, STOPPED
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.study import Gap
from mergerexp.tracking.study_artifacts import ROBUSTNESS
from tests.studies import add_run, add_study, copy_study, log_ratings

pytestmark = pytest.mark.slow

WHOLE = (("imagenet", "random"), (1.0,))  # the cells of a study that several tests begin with


@pytest.fixture
def aggregate(run_verb, monkeypatch):
    """Run the verb on small bootstraps and figures in one format, in this process alone.

    `small_study` has everything, and the verb's own process has helpers.
    """
    monkeypatch.setattr("mergerexp.report.figures.style.FORMATS", {"svg": FORMATS["svg"]})
    for module in ("mergerexp.aggregate", "mergerexp.report.helpers"):
        monkeypatch.setattr(f"{module}.usable_cores", lambda: 1)

    def run(*overrides: str) -> int:
        return run_verb(mergerexp.aggregate, "draws=100", *overrides)

    return run


@pytest.fixture
def without_figures(monkeypatch):
    """Have empty figures, which most of a small report's time goes to."""

    def empty(draw: object, folder: Path, name: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.svg"
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 30"></svg>')
        return path

    monkeypatch.setattr("mergerexp.report.study_folder._draw", empty)


@pytest.mark.usefixtures("without_figures")
def test_gaps_are_named_and_may_be_allowed(aggregate, tmp_path, capsys):
    copy_study(tmp_path, *WHOLE)
    add_run(tmp_path, "init=imagenet", "fold=1", "subset=1.0")
    add_run(tmp_path, "init=imagenet", "fold=1", "subset=1.0", content_hash="d" * 64)
    add_study(tmp_path, subsets=(0.5,), folds=(0, 1, 2))
    add_run(tmp_path, "init=imagenet", "fold=3", "subset=0.5", state=FAILED)
    assert aggregate() == 2
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len([line for line in lines if "duplicate: imagenet subset=1 fold=1" in line]) == 1
    assert len([line for line in lines if "foreign" in line and "data=dddddddddddd" in line]) == 1
    assert len([line for line in lines if "missing: random subset=0.5 fold=3" in line]) == 1
    assert len([line for line in lines if "failed: imagenet subset=0.5 fold=3" in line]) == 1
    assert len(lines) == 4
    sync, choose, go_on = said.splitlines()[-3:]  # what to do is no error
    assert choose.endswith("'where={data.name: lenses}'")
    assert sync.startswith("python -m mergerexp.status --sync")
    assert go_on.startswith("the study is not complete: allow_partial=true")
    assert not (tmp_path / "studies").exists()
    assert aggregate("allow_partial=true") == 0
    page = (tmp_path / "studies" / "mergerexp" / "report.html").read_text()
    assert "random subset=0.5 fold=3 seed=0 is not in MLflow" in page


def test_robustness_that_some_networks_lack_is_left_out(aggregate, tmp_path, capsys):
    add_study(tmp_path, ("imagenet",), (1.0,))
    reader = MlflowReader(
        TrackingConfig(
            uri=f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="mergerexp", artifacts=None, retry_s=0.0
        )
    )
    study = reader.with_predictions(reader.find())
    log_ratings(reader, study, study.runs["run_id"].iloc[0])
    cut_off = tmp_path / ROBUSTNESS
    cut_off.write_bytes(b"cut off")
    reader.add_artifact(study.runs["run_id"].iloc[1], cut_off)
    assert aggregate() == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "the robustness of" in line]
    damaged, missing = (" ".join(line.split("partial: ")[1].split()) for line in lines)
    assert "can't be read: " in damaged and "mergerexp.robustness measures it again" in damaged
    assert missing.startswith("the robustness of 2 of 4 networks has been measured")
    folder = tmp_path / "studies" / "mergerexp"
    assert not list(folder.rglob("robustness_*"))
    page = html.unescape((folder / "report.html").read_text())
    for line in (damaged, missing):
        assert line.endswith("the report leaves robustness out") and line in page
    assert aggregate("allow_partial=true") == 0
    assert list(folder.rglob("robustness*"))


def test_what_the_user_stopped_has_not_failed(aggregate, tmp_path, capsys):
    copy_study(tmp_path, ("random",), (1.0,), (0, 1, 2))
    add_run(tmp_path, "init=random", "fold=3", "subset=1.0", state=STOPPED)
    assert aggregate() == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: stopped: random subset=1 fold=3 seed=0 was stopped by its user")


def test_a_compared_method_whose_runs_have_failed_is_no_unknown_one(aggregate, tmp_path, capsys):
    copy_study(tmp_path, ("imagenet",), (1.0,))
    for fold in range(4):
        add_run(tmp_path, "init=random", f"fold={fold}", "subset=1.0", state=FAILED)
    assert aggregate("compare=[imagenet,random]") == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert [line.startswith("error: failed: random subset=1 fold=") for line in lines] == [True] * 4


@pytest.mark.usefixtures("without_figures")
def test_the_report_is_in_mlflow_and_no_run_of_the_study(aggregate, tmp_path, capsys):
    copy_study(tmp_path, *WHOLE)
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for _ in range(2):
        assert aggregate() == 0  # the report of the first time is no gap
        said = capsys.readouterr().err
    assert f"mlflow ui --backend-store-uri {store}\n" in said
    assert "/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=mergerexp" in said
    client = MlflowClient(store)
    runs = client.search_runs(["1"])
    assert len(runs) == 9
    (report,) = [run for run in runs if run.info.run_name == "report of mergerexp"]
    assert report.info.status == "FINISHED"
    page = Path(client.download_artifacts(report.info.run_id, "report.html"))
    assert page.read_bytes() == (tmp_path / "studies" / "mergerexp" / "report.html").read_bytes()


def test_nothing_to_aggregate_is_said_without_loading_mlflow(tmp_path):
    script = (
        "import sys\n"
        "sys.argv = ['aggregate']\n"
        "from mergerexp import aggregate\n"
        "try:\n"
        "    aggregate.main()\n"
        "finally:\n"
        "    print(sorted({'mlflow', 'torch', 'pandas'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "MERGEREXP_ROOT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert done.stderr.startswith(f"error: {tmp_path / 'mlflow.db'}: no MLflow store; ")


def test_a_deleted_experiment_is_named_with_its_remedy(aggregate, tmp_path, capsys):
    add_run(tmp_path, "init=random", "fold=0")
    MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").delete_experiment("1")
    assert aggregate() == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: experiment mergerexp in sqlite:///{tmp_path / 'mlflow.db'} was deleted: ")
    assert "mlflow experiments restore --experiment-id 1" in said
    assert "tracking.experiment=NAME" in said


def test_the_store_that_the_environment_names_is_read(aggregate, study_root, tmp_path, capsys, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MERGEREXP_TRACKING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{study_root / 'mlflow.db'}")
    assert aggregate("sweep=zzz") == 2
    assert "sweep=zzz: no such sweep in MLflow, which has 5weep000" in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlruns")
    assert aggregate() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: MLFLOW_TRACKING_URI='file://")
    assert "sqlite:///" in line


@pytest.mark.usefixtures("without_figures")
def test_an_interrupted_aggregation_leaves_the_old_study(
    aggregate, study_root, small_study, tmp_path, monkeypatch
):
    store = [f"tracking.uri=sqlite:///{study_root / 'mlflow.db'}"]
    study = tmp_path / "studies" / "mergerexp"
    shutil.copytree(small_study, study)
    before = {path: path.read_bytes() for path in study.rglob("*.csv")}
    with monkeypatch.context() as patch:

        def fail(*arguments: object) -> None:
            raise OSError("disk full")

        patch.setattr("mergerexp.report.study_folder.write_page", fail)
        assert aggregate(*store, "seed=1") == 2
    assert {path: path.read_bytes() for path in study.rglob("*.csv")} == before
    assert aggregate(*store) == 0
    assert {path: path.read_bytes() for path in study.rglob("*.csv")} == before  # the same numbers again
    assert [path.name for path in study.parent.glob(".*")] == [f".{study.name}.lock"]


def test_a_folder_with_something_else_is_not_replaced(aggregate, study_root, tmp_path, capsys):
    (tmp_path / "studies" / "mine").mkdir(parents=True)
    (tmp_path / "studies" / "mine" / "thesis.tex").write_text("years of work")
    assert aggregate(f"tracking.uri=sqlite:///{study_root / 'mlflow.db'}", "name=mine") == 2
    assert "choose another name=NAME" in capsys.readouterr().err
    assert (tmp_path / "studies" / "mine" / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sweeep=3", "sweeep: unknown key; did you mean sweep"),
        ("prevalence=0", "prevalence=0.0: must be above 0 and at most 0.99"),
        ("compare=[imagenet]", "compare=['imagenet']: two methods are needed"),
        ("compare=[imagenet,lenses]", "compare: no method lenses; there are imagenet, random"),
        ("tracking=none", "tracking=none: a study is read from MLflow"),
        ("tracking.uri=http://me:secret@host", "tracking.uri=http://host: no password, token or key in it"),
        ("tracking.experiment=lenses", "no experiment lenses"),
        ("where={data.nam: x}", "where.data.nam: no run has such a setting"),
        ("sweep=zzz", "sweep=zzz: no such sweep in MLflow, which has 5weep000"),
        ("name=../x", "name=../x: use letters"),
    ],
)
def test_wrong_overrides(override, said, aggregate, study_root, capsys):
    store = (
        []
        if override.startswith(("tracking=", "tracking.uri"))
        else [f"tracking.uri=sqlite:///{study_root / 'mlflow.db'}"]
    )
    assert aggregate(*store, override) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {said}")


def test_an_arm_and_a_fold_alone(aggregate, study_root, tmp_path):
    """One arm has no test, one fold no standard error, one size no curve; the rest is there."""
    store = f"tracking.uri=sqlite:///{study_root / 'mlflow.db'}"
    only = "where={init.name: random, subset: 1.0, fold: 2}"
    assert aggregate(store, only, "allow_partial=true") == 0
    (folder,) = (tmp_path / "studies").glob("[!.]*")
    assert folder.name == "mergerexp-init-random-subset-1.0-fold-2"
    page = (folder / "report.html").read_text()
    assert "<title>mergerexp, init random, subset 1.0, fold 2: random</title>" in page
    study = json.loads((folder / "study.json").read_text())
    assert study["settings"]["chosen"]["where"]["init.name"] == "random"
    assert study["compared"] is None
    assert study["tests"] is None
    (gap,) = study["gaps"]
    assert gap["what"] == "random subset=1 fold=0,1,3 seed=0 are not in MLflow; the study has 4 folds"
    shutil.rmtree(tmp_path / "studies")


def test_the_first_of_many_gaps_are_named(caplog):
    gaps = [Gap("missing", f"run {number}") for number in range(40)]
    with caplog.at_level("WARNING"):
        aggregation._warn(gaps)
        aggregation._warn(gaps[:12])
    assert [each.getMessage() for each in caplog.records[11:14]] == [
        "missing: run 11", "28 gaps more, which the report lists", "missing: run 0"
    ]  # fmt: skip
    assert len(caplog.records) == 25


@pytest.mark.usefixtures("without_figures")
def test_a_merger_sample_is_a_part_of_the_report(aggregate, run_verb, study_root, tmp_path, capsys):
    import mergerexp.sample

    quick = ["catalogue.mock.area=300", "draws=2", "permutations=9", "regions=0"]
    assert run_verb(mergerexp.sample, "catalogue=mock", *quick) == 0
    study = [f"tracking.uri=sqlite:///{study_root / 'mlflow.db'}", "allow_partial=true"]
    study += ["where={init.name: random, subset: 1.0, fold: 2}", "name=both"]
    assert aggregate(*study, f"sample={tmp_path}/studies") == 2
    assert "is no folder that mergerexp.sample wrote" in capsys.readouterr().err
    assert aggregate(*study, f"sample={tmp_path}/samples/mock") == 0
    page = (tmp_path / "studies/both/report.html").read_text()
    assert "Stellar mass functions (Fig. 13 of the paper)" in page and "fig13_mass_functions" in page
    assert "truth, mergers without companions" in page


def test_rules_alone(aggregate, tmp_path):
    """No network: nothing to calibrate, no epochs, and nothing that the published tests are about."""
    for method in ("gini_m20", "asymmetry"):
        for fold in range(4):
            add_run(tmp_path, "model=nonparametric", f"model.method={method}", f"fold={fold}")
    assert aggregate("compare=[asymmetry,gini_m20]") == 0
    study = tmp_path / "studies" / "mergerexp"
    assert {"fig07_roc", "precision_recall"} <= {path.stem for path in (study / "figures").glob("*.svg")}
    assert not (study / "tables" / "calibration.csv").exists()
    page = (study / "report.html").read_text()
    assert not re.search(r">\s*nan\s*<", page)
    for table in ("lesion_errors", "lesion_tests"):
        assert "published" not in (study / "tables" / f"{table}.md").read_text()


@pytest.mark.usefixtures("without_figures")
def test_the_published_tests_stand_beside_those_of_transfer_learning(aggregate, tmp_path):
    """Of a data set that declares itself the published sample; conf/data/sdss.yaml does."""
    add_study(tmp_path, ("imagenet", "random"), (0.5, 1.0), (0, 1, 2, 3), "data.published_sample=true")
    assert aggregate() == 0
    study = tmp_path / "studies" / "mergerexp"
    for table in ("lesion_errors", "lesion_tests", "lesion_combined"):
        assert "published" in (study / "tables" / f"{table}.md").read_text()
    assert "0.9922" in (study / "report.html").read_text()


@pytest.mark.usefixtures("without_figures")
def test_how_training_ended_is_told(aggregate, tmp_path):
    """Networks that were never fine-tuned, and those that might have gone on, with their training curves."""
    cut_off = {"run/finetune_epochs": 40.0, "run/best_epoch": 38.0}
    for init, ended in (("imagenet", cut_off), ("random", {"run/best_epoch": -1.0})):
        for fold in range(4):
            add_run(tmp_path, f"init={init}", f"fold={fold}", ended=ended if fold < 3 else {})
    assert aggregate() == 0
    study = tmp_path / "studies" / "mergerexp"
    page = " ".join((study / "report.html").read_text().split())
    assert page.count("In 3 of the 4 runs of imagenet, training stopped at max_epochs before patience") == 2
    assert page.count("In 3 of the 4 runs of random, no epoch of fine-tuning was better than the head") == 2
    table = pd.read_csv(study / "tables" / "training.csv")
    assert table.groupby("arm")[
        ["best before fine-tuning", "stopped at max_epochs"]
    ].sum().to_numpy().tolist() == [
        [0, 3],
        [3, 0],
    ]
    assert len(read_json(study / "study.json")["verdict"]) == 3
    tags = [
        run.data.tags.get("mergerexp.caveat", "")
        for run in MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_runs(["1"])
        if "mergerexp.fingerprint" in run.data.tags  # the report has a run of its own
    ]
    assert sorted(tag.partition(":")[0] for tag in tags) == [
        "", "", *["best before fine-tuning"] * 3, *["stopped at max_epochs"] * 3
    ]  # fmt: skip


@pytest.mark.parametrize("cores", [1, 2])
def test_training_curves_that_can_not_be_read_is_a_gap(cores, aggregate, tmp_path, capsys, monkeypatch):
    """With two cores, helpers are at work by then."""
    monkeypatch.setattr("mergerexp.report.helpers.usable_cores", lambda: cores)
    copy_study(tmp_path, ("imagenet",), (1.0,))
    next(tmp_path.glob("mlartifacts/**/history.json")).write_text("[]")
    assert aggregate() == 2
    assert "damaged: the training curves of imagenet" in capsys.readouterr().err


def test_several_seeds(aggregate, tmp_path):
    copy_study(tmp_path, *WHOLE)
    add_study(tmp_path, ("imagenet", "random"), (1.0,), (0, 1, 2, 3), "seed=1")
    assert aggregate() == 0
    study = tmp_path / "studies" / "mergerexp"
    page = (study / "report.html").read_text()
    assert "Several seeds were trained" in page and "of seed 0" in page
    table = pd.read_csv(study / "tables" / "lesion_errors.csv")
    assert set(table["seeds"]) == {2} and set(table["folds"]) == {4}


@pytest.mark.parametrize(
    ("experiment", "folder"), [("plain [v2] [/b]", "plain-v2-b"), ("../../Users/me/x", "Users-me-x")]
)
@pytest.mark.usefixtures("without_figures")
def test_experiments_may_be_called_anything(experiment, folder, aggregate, tmp_path, capsys):
    named = f"tracking.experiment='{experiment}'"
    for fold in range(4):
        add_run(tmp_path, "init=imagenet", f"fold={fold}", named)
    assert aggregate(named) == 0
    assert [path.name for path in (tmp_path / "studies").glob("[!.]*")] == [folder]
    assert folder in capsys.readouterr().err


@pytest.mark.usefixtures("without_figures")
def test_arms_of_unequal_folds_share_a_row_and_say_so(aggregate, tmp_path):
    copy_study(tmp_path, *WHOLE)
    add_study(tmp_path, ("imagenet",), (0.5,))
    add_study(tmp_path, ("random",), (0.5,), (0, 1, 2))
    assert aggregate("allow_partial=true") == 0
    rows = (tmp_path / "studies" / "mergerexp" / "tables" / "lesion_errors.md").read_text().splitlines()
    sizes = [row for row in rows if row.startswith("|") and "N |" not in row and "---" not in row]
    assert len(sizes) == 2
    assert "(3 of 4 folds)" in sizes[1] and all(cell.strip() for cell in sizes[1].split("|")[1:-1])


def test_a_folder_that_can_not_be_written(aggregate, study_root, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    store = f"tracking.uri=sqlite:///{study_root / 'mlflow.db'}"
    assert aggregate(store, f"paths.studies={tmp_path / 'file'}") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "paths.studies=" in line and "this is a file, and a folder is needed" in line
