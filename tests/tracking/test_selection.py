"""Which runs of an experiment make a study, and what is said of the others."""

from __future__ import annotations

import itertools

import pytest
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

from mergerexp.errors import UserError
from mergerexp.tracking.selection import runs_of_sweep, runs_with_setting, select

numbers = itertools.count(1)


def run(
    status: str = "FINISHED", ended: int = 100, tags: dict[str, str] | None = None, **settings: object
) -> Run:
    """Return a run as MLflow keeps it, with the settings that every run has."""
    given = {key.replace("__", "."): str(value) for key, value in settings.items()}
    usual = {"init.name": "imagenet", "subset": "1.0", "fold": "0", "seed": "0", "split.folds": "2"}
    known = {"mergerexp.fingerprint": "f", "mergerexp.data.content_hash": "c" * 64, "mergerexp.protocol": "3"}
    run_id = f"{next(numbers):08x}{0:024x}"
    info = RunInfo(run_id, "1", "user", status, 10, ended, "active", run_name=f"run {run_id[-2:]}")
    data = RunData(
        [Metric("train/n_balanced", 60.0, 0, 0)],
        [Param(key, value) for key, value in (usual | given).items()],
        [RunTag(key, value) for key, value in {**known, **(tags or {})}.items() if value],
    )
    return Run(info, data)


def whole(**settings: object) -> list[Run]:
    return [run(fold=fold, **settings) for fold in (0, 1)]


def gaps_of(runs: list[Run]) -> list[str]:
    return [str(gap) for gap in select(runs)[1]]


def test_a_whole_study_has_no_gaps_and_is_ordered():
    found = [
        *whole(init__name="random", subset=0.5),
        *whole(),
        *whole(init__name="random"),
        *whole(subset=0.5),
    ]
    rows, gaps = select(found)
    assert gaps == []
    cells = rows[["arm", "subset", "fold"]].to_numpy().tolist()
    assert cells == [
        [arm, subset, fold] for arm in ("imagenet", "random") for subset in (1, 0.5) for fold in (0, 1)
    ]
    assert rows["n_train"].tolist() == [60] * 8


def test_the_newest_of_a_cell_counts_and_the_others_are_named():
    old, new = run(ended=100), run(ended=200)
    rows, (gap,) = select([new, old, run(fold=1)])
    assert new.info.run_id in rows["run_id"].tolist() and old.info.run_id not in rows["run_id"].tolist()
    assert str(gap).startswith("duplicate: imagenet subset=1 fold=0 seed=0 was finished 2 times")


@pytest.mark.parametrize(
    ("status", "kind"),
    [("FAILED", "failed"), ("KILLED", "stopped"), ("RUNNING", "unfinished"), ("SCHEDULED", "unfinished")],
)
def test_how_a_run_without_results_ended_is_told(status, kind):
    lost = run(status, fold=1, tags={"mergerexp.error": "ValueError: bad luck"})
    (gap,) = gaps_of([run(), lost])
    assert gap.startswith(f"{kind}: imagenet subset=1 fold=1 seed=0 ")
    assert gap.endswith(f"(run {lost.info.run_id[:8]}): ValueError: bad luck")
    assert gaps_of([run(), lost, run(fold=1)]) == []  # since it was finished at another try


def test_cells_that_nobody_began_are_missing():
    runs = [*whole(), *whole(subset=0.3), *whole(init__name="random"), run(init__name="random", subset=0.3)]
    assert gaps_of(runs) == ["missing: random subset=0.3 fold=1 seed=0 is not in MLflow"]
    # An arm at a single size, such as a rule, need not have those of the others.
    assert gaps_of([*runs[:4], *whole(init__name="random")]) == []


def test_runs_that_cannot_be_compared_are_foreign():
    other_data = run(fold=1, tags={"mergerexp.data.content_hash": "d" * 64})
    other_folds = run(fold=1, split__folds=5)
    report = run(fold=1, tags={"mergerexp.fingerprint": ""})
    gaps = gaps_of([*whole(), other_data, other_folds, report])
    assert [gap.split(":")[0] for gap in gaps] == ["foreign"] * 3
    assert "was not made by mergerexp" in gaps[0]
    assert "has data=dddddddddddd, unlike the other runs, which have data=cccccccccccc" in gaps[1]
    assert "has split.folds=5, unlike the other runs, which have split.folds=2" in gaps[2]


def test_nothing_to_select_is_an_error_that_says_why():
    with pytest.raises(
        UserError, match="none of the chosen runs is finished:\nfailed: imagenet subset=1 fold=0"
    ):
        select([run("FAILED")])
    with pytest.raises(UserError, match="none of the chosen runs was made by mergerexp"):
        select([run(tags={"mergerexp.fingerprint": ""})])


def test_runs_are_chosen_by_settings_and_tags():
    first, second = run(optimizer__lr="0.0001"), run(optimizer__lr="0.01", tags={"who": "me"})
    assert runs_with_setting([first, second], "optimizer.lr", 1e-4) == [first]  # as a number
    assert runs_with_setting([first, second], "optimizer.lr", [1e-4, 0.01]) == [first, second]
    assert runs_with_setting([first, second], "tags.who", "me") == [second]
    with pytest.raises(UserError, match=r"lr=3: no run has this value; there are 0.0001, 0.01"):
        runs_with_setting([first, second], "optimizer.lr", 3)
    with pytest.raises(UserError, match=r"where.optimizer.rl: no run has such a setting"):
        runs_with_setting([first, second], "optimizer.rl", 3)
    with pytest.raises(UserError, match=r"where.tags.whom: no run has such a tag"):
        runs_with_setting([first, second], "tags.whom", "me")


def test_a_sweep_is_chosen_by_the_beginning_of_its_id():
    first, second = run(tags={"mergerexp.sweep.3f2a": "1"}), run(tags={"mergerexp.sweep.3fb0": "1"})
    both = run(tags={"mergerexp.sweep.3f2a": "1", "mergerexp.sweep.3fb0": "1"})
    assert runs_of_sweep([first, second, both], "3f2") == [first, both]
    with pytest.raises(UserError, match="sweep=3f: several sweeps begin so: 3f2a, 3fb0"):
        runs_of_sweep([first, second], "3f")
    with pytest.raises(UserError, match="sweep=9: no such sweep in MLflow, which has 3f2a, 3fb0"):
        runs_of_sweep([first, second], "9")
    with pytest.raises(UserError, match="which has none"):
        runs_of_sweep([run()], "9")
