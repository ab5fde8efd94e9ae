"""What a classifier misses and adds is corrected, on mocks that it rates with a known ROC."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm

from mergerexp.analysis.completeness import fit_mass_limit
from mergerexp.analysis.mass_function import MassPoints, SampleVolume, Schechter, mass_bins, vmax_density
from mergerexp.analysis.mock_sample import mock_sample
from mergerexp.analysis.purity import corrected_weights, fit_prevalence, fit_recall, posterior

BETWEEN = (0.02, 0.06)
CUT = 0.95


def rated(mock: pd.DataFrame, is_merger: bool, random: np.random.Generator) -> np.ndarray:
    """Return logits of a classifier that sees faint mergers less well: its ROC is the binormal one."""
    separation = 5.0 - 0.8 * (mock["magnitude"] - 15).clip(lower=0)
    return np.where(is_merger, separation / 2, -separation / 2) + np.sqrt(separation) * random.normal(
        size=len(mock)
    )


def test_the_corrected_mass_function_is_the_truth_while_the_plain_one_is_not():
    random = np.random.default_rng(0)
    mergers, others = Schechter(10.8, (-0.6,), (-3.4,)), Schechter(10.7, (-1.0,), (-2.3,))
    edges, plain, with_global, corrected = mass_bins(10.0, 11.2), [], [], []
    for _ in range(12):
        parts = [mock_sample(truth, BETWEEN, 6000.0, random) for truth in (mergers, others)]
        survey = pd.concat(parts, ignore_index=True)
        is_merger = np.repeat([True, False], [len(part) for part in parts])
        score = np.concatenate([rated(part, part is parts[0], random) for part in parts])
        # A score is the logarithm of the ratio of likelihoods.
        selected = expit(score) > CUT
        shape = np.column_stack([survey["log_mass"], (survey["log_mass"] - 10.5) ** 2])
        p_global = posterior(np.full(len(survey), is_merger.mean()), score)
        p_local = posterior(fit_prevalence(shape, score).at(shape), score)
        # The recall comes from other mergers, as many as the paper has.
        labelled = mock_sample(mergers, BETWEEN, 7000.0, random)
        recall = fit_recall(labelled[["magnitude"]], expit(rated(labelled, True, random)) > CUT)
        bright = 17.77 - survey["magnitude"]
        limit = fit_mass_limit(survey["redshift"], survey["log_mass"], bright, BETWEEN, seed=0, draws=0).limit
        volume = SampleVolume(limit, 6000.0)
        chosen = survey[selected]
        found = recall.at(chosen[["magnitude"]])
        weights = [None, *(corrected_weights(p[selected], found) for p in (p_global, p_local))]
        for given, to in zip(weights, (plain, with_global, corrected), strict=True):
            points = MassPoints.of(chosen["log_mass"], limit.at(chosen["redshift"]), given)
            to.append(vmax_density(points, volume, edges)["phi"])
    truth = [mergers.density(np.linspace(a, b, 41)).mean() for a, b in itertools.pairwise(edges)]
    assert np.mean(corrected, axis=0) / truth == pytest.approx(np.ones(len(truth)), abs=0.08)
    assert np.abs(np.mean(plain, axis=0) / truth - 1).max() > 0.3
    assert np.abs(np.mean(with_global, axis=0) / truth - 1).max() > 0.15  # of one prevalence for all masses


def test_the_recall_is_measured_where_it_depends_on_magnitude():
    random = np.random.default_rng(1)
    magnitude = random.uniform(14, 17.7, 3000)
    chance = norm.cdf(2 - (magnitude - 15.5))
    recall = fit_recall(magnitude[:, None], random.random(3000) < chance)
    at = np.array([14.5, 15.5, 16.5, 17.5])
    assert recall.at(at[:, None]) == pytest.approx(norm.cdf(2 - (at - 15.5)), abs=0.05)
    assert recall.at([[30.0]])[0] == pytest.approx(
        recall.at([[18.5]])[0], abs=0.1
    )  # not extrapolated for ever


def test_a_recall_of_all_or_none_stays_between():
    x = np.linspace(0, 1, 40)[:, None]
    assert 0.9 < fit_recall(x, np.ones(40, dtype=bool)).at(x).min() < 1
    assert 0 < fit_recall(x, np.zeros(40, dtype=bool)).at(x).max() < 0.1


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="19 objects are too few"):
        fit_recall(np.zeros((19, 1)), [True] * 19)
    with pytest.raises(ValueError, match="not a number"):
        fit_recall(np.full((30, 1), np.nan), [True] * 30)
    with pytest.raises(ValueError, match="probabilities"):
        corrected_weights([1.2], [0.5])
    with pytest.raises(ValueError, match="recall"):
        corrected_weights([0.5], [np.nan])
    with pytest.raises(ValueError, match="rating"):
        fit_prevalence(np.zeros((30, 1)), np.full(30, np.nan))
