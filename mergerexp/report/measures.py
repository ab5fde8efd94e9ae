"""The scores of all arms and the quality of their probabilities, measured in processes beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from mergerexp.report.helpers import Helpers, Later, begun
from mergerexp.report.settings import AggregationSettings
from mergerexp.tracking.study import Study

if TYPE_CHECKING:
    from mergerexp.report.quality import Quality

# These modules import scipy, which takes a while that the helpers need not wait for.
QUALITY = "mergerexp.report.quality:quality_or_reason"
SCORES = "mergerexp.report.scores:scores_of_arm"


@dataclass(frozen=True)
class Measures:
    """What takes most of the time of an aggregation; each is by arm.

    Attributes
    ----------
    scores
        The scores at the largest size, as `mergerexp.report.results.StudyResults.scores` has them.
    quality
        The quality of the networks' probabilities.
    unexamined
        Why the quality of other networks can't be measured.
    """

    scores: dict[str, pd.DataFrame]
    quality: dict[str, Quality]
    unexamined: dict[str, str]


@contextmanager
def measuring(
    study: Study, settings: AggregationSettings, pool: Helpers | None
) -> Iterator[Callable[[], Measures]]:
    """Measure the arms of a study in other processes while this one goes on with the block.

    Parameters
    ----------
    study
        A study with predictions.
    settings
        What the aggregation was asked for.
    pool
        The processes; None to measure in this one, once that is asked for.

    Yields
    ------
    callable
        A function that waits for the measures, and returns them.
    """
    networks, arms = study.networks, study.arms
    tasks = [
        *(Later(QUALITY, (study.pooled[arm].first_seed, settings)) for arm in networks),
        *(Later(SCORES, (arm, study.pooled[arm].all_seeds, settings)) for arm in arms),
    ]
    with begun(pool, tasks) as finish:

        def measured() -> Measures:
            found = finish()
            quality = dict(zip(networks, found, strict=False))
            return Measures(
                scores=dict(zip(arms, found[len(networks) :], strict=True)),
                quality={arm: one for arm, one in quality.items() if not isinstance(one, str)},
                unexamined={arm: one for arm, one in quality.items() if isinstance(one, str)},
            )

        yield measured
