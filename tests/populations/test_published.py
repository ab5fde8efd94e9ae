"""Ratings that somebody else has published beside those of the sample."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit, logit

from mergerexp.analysis.agreement import agreement

NOISE = 0.8  # of the published logits


@pytest.fixture(scope="module")
def published(survey: pd.DataFrame) -> pd.DataFrame:
    """Ratings of the survey with noise, without some of its objects, and with some other ones."""
    rng = np.random.default_rng(8)
    p = expit(logit(survey["p_best"].clip(1e-6, 1 - 1e-6)) + 0.3 + rng.normal(0, NOISE, len(survey)))
    table = pd.DataFrame({"OBJID": survey["objid"], "p_merger": p})
    others = pd.DataFrame({"OBJID": np.arange(1, 8), "p_merger": 0.5})
    return pd.concat([table.drop(index=range(0, 1000)), others]).sample(frac=1, random_state=1)


def _publish(table: pd.DataFrame, path: Path) -> list[str]:
    with gzip.open(path, "wt") as file:
        table.to_csv(file, index=False)
    return [f"published.file={path}", "published.id=OBJID", "published.p=p_merger"]


def test_published_ratings_are_compared_object_by_object(
    make: Callable[..., dict[str, Any]], survey: pd.DataFrame, published: pd.DataFrame, tmp_path: Path
) -> None:
    asked = _publish(published, tmp_path / "merger_probabilities.csv.gz")
    found = make(survey, *asked, figures=True)
    compared, used = found["published"], found["sizes"]["all"]
    assert compared["without_a_row"] == 7
    assert compared["rated_by"]["published"] == 0
    assert sum(compared["rated_by"].values()) == used
    how = compared["agreement"]
    assert how["objects"] == compared["rated_by"]["both"]
    assert how["shift"] == pytest.approx(-0.3, abs=0.05)
    assert how["scatter"] == pytest.approx(NOISE, abs=0.03)
    assert how["low"] < how["rank_correlation"] < how["high"]
    # What pandas finds for the same rows.
    both = survey.merge(published, left_on="objid", right_on="OBJID")
    sample = both[both["z"].between(0.02, 0.06) & (both["magnitude_r"] <= 17.77)]
    assert len(sample) == how["objects"]
    assert how["rank_correlation"] == pytest.approx(
        sample["p_best"].corr(sample["p_merger"], method="spearman"), abs=1e-9
    )
    ours, theirs = sample["p_best"] > 0.95, sample["p_merger"] > 0.95
    row = next(row for row in compared["cuts"] if row["p_above"] == 0.95)
    assert row["both"] == (ours & theirs).sum() > 0
    assert row["only_ours"] == (ours & ~theirs).sum() > 0
    assert row["only_published"] == (~ours & theirs).sum() > 0
    folder = tmp_path / "samples/sample"
    alone = pd.read_csv(folder / "tables/published_alone.csv", dtype={"id": str})
    assert set(alone["id"]) == set(sample["objid"][ours ^ theirs].astype(str))
    page = (folder / "sample.html").read_text()
    assert "Published ratings beside these" in page
    assert "published_ratings" in page
    assert "and of other galaxies?</b>" in page  # and no full stop behind it


def test_published_files_that_do_not_fit_are_named(
    make: Callable[..., dict[str, Any]],
    survey: pd.DataFrame,
    published: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "theirs.csv.gz"
    asked = _publish(published, file)
    make(survey, asked[0], code=2)
    assert "has no column 'objid', but OBJID, p_merger; published.id says" in capsys.readouterr().err
    make(survey, *_publish(published.assign(OBJID=lambda t: t["OBJID"] + 10**15), file), code=2)
    assert f"published.file={file}: none of its ids" in capsys.readouterr().err
    make(survey, *_publish(published.assign(p_merger=lambda t: 100 * t["p_merger"]), file), code=2)
    assert "a probability lies between 0 and 1" in capsys.readouterr().err
    make(survey, *asked, "catalogue.columns.p_published=p_best", code=2)
    assert "only one can be compared with" in capsys.readouterr().err
    make(survey, f"published.file={tmp_path / 'none.csv'}", code=2)
    assert "published.file" in capsys.readouterr().err


def test_the_interval_of_a_rank_correlation_holds_the_truth_as_often_as_it_says() -> None:
    rng, truth, hits, draws = np.random.default_rng(0), 0.6, 0, 400
    # Of normal variables with a correlation of 0.6, Spearman's is 6/π asin(0.3).
    spearman = 6 / np.pi * np.arcsin(truth / 2)
    for _ in range(draws):
        x, noise = rng.standard_normal((2, 60))
        found = agreement(expit(x), expit(truth * x + np.sqrt(1 - truth**2) * noise))
        hits += found.low < spearman < found.high
    assert 0.92 < hits / draws < 0.98


def test_ratings_without_variety_have_no_rank_correlation() -> None:
    found = agreement([0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4])
    assert np.isnan(found.rank_correlation)
    assert np.isnan(found.low)
    with pytest.raises(ValueError, match="no object has both ratings"):
        agreement([], [])
    sure = agreement([0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0])
    assert sure.scatter == 0


def test_a_missing_rating_hides_none_that_is_there(
    make: Callable[..., dict[str, Any]], survey: pd.DataFrame, tmp_path: Path
) -> None:
    """Files that pandas has not written hold NaN, and some −9999."""
    table = survey[["objid", "p_best"]].rename(columns={"p_best": "p"})
    twice = pd.concat([table.assign(p=np.nan), table.assign(p=-9999.0), table])
    strangers = pd.DataFrame({"objid": [1, 2, 3], "p": [np.nan, np.nan, 0.5]})
    whole = pd.concat([twice, strangers])
    columns = {"objid": pa.array(whole["objid"]), "p": pa.array(whole["p"].to_numpy())}  # with NaN
    pq.write_table(pa.table(columns), tmp_path / "theirs.parquet")
    found = make(survey, f"published.file={tmp_path}/theirs.parquet")
    assert found["published"]["agreement"]["objects"] == found["published"]["rated_by"]["both"] > 10_000
    assert found["published"]["without_a_row"] == 1
    assert not any(found["repeated_ids"].values())
