"""The fraction of mergers in a survey: truth is found, its interval covers, and what breaks it is seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit

from mergerexp.analysis.calibrators import Platt
from mergerexp.analysis.prevalence import Ratings, estimate_prevalence


def rated(rng: np.random.Generator, n_mergers: int, n_others: int, separation: float = 3.0):
    label = np.repeat([1, 0], [n_mergers, n_others])
    return label, expit(rng.normal(separation * (label - 0.5), 1.5))


def expectation_maximisation(p: np.ndarray, trained_at: float, steps: int = 5000) -> float:
    """Saerens et al. 2002, equation 2.9, to the letter."""
    prevalence = trained_at
    for _ in range(steps):
        one, other = p * prevalence / trained_at, (1 - p) * (1 - prevalence) / (1 - trained_at)
        prevalence = float((one / (one + other)).mean())
    return prevalence


@pytest.mark.parametrize("n_mergers", [40, 200, 1500])
def test_it_is_where_expectation_maximisation_ends(n_mergers):
    rng = np.random.default_rng(n_mergers)
    label, p = rated(rng, 400, 1200)
    _, field = rated(rng, n_mergers, 2000 - n_mergers)
    platt = Platt.fit(label, p)
    expected = expectation_maximisation(platt.apply(field), platt.prevalence)
    found = estimate_prevalence(Ratings.of(field), label, p, seed=0, draws=2)
    assert found.value == pytest.approx(expected, abs=2e-4)  # the cells of the histogram


def test_it_is_the_maximum_of_the_likelihood():
    rng = np.random.default_rng(3)
    label, p = rated(rng, 500, 1500)
    _, field = rated(rng, 60, 2940)
    platt = Platt.fit(label, p)
    calibrated = platt.apply(field)
    ratio = calibrated / (1 - calibrated) * (1 - platt.prevalence) / platt.prevalence
    best = minimize_scalar(lambda pi: -np.log1p(pi * (ratio - 1)).sum(), bounds=(0, 1), method="bounded")
    found = estimate_prevalence(Ratings.of(field), label, p, seed=0, draws=2)
    assert found.value == pytest.approx(best.x, abs=2e-4)


def test_the_interval_covers_and_the_fit_is_good_where_only_the_prevalence_differs():
    inside, p_values = 0, []
    for number in range(100):
        rng = np.random.default_rng([7, number])
        label, p = rated(rng, 300, 900)
        _, field = rated(rng, *rng.multinomial(8000, [0.02, 0.98]))
        found = estimate_prevalence(Ratings.of(field), label, p, seed=number, draws=60)
        inside += found.low <= 0.02 <= found.high
        p_values.append(found.p_value)
    assert 87 <= inside <= 99  # of 100; 200 more fields with 300 draws each gave 95.0 %
    assert 0.2 < np.mean(p_values) < 0.8 and np.mean(np.array(p_values) < 0.01) < 0.1


def test_a_field_of_other_galaxies_does_not_fit():
    rng = np.random.default_rng(5)
    label, p = rated(rng, 400, 1200)
    _, field = rated(rng, 160, 7840)
    doubtful = expit(rng.normal(0.0, 0.4, 1500))  # neither class has so many in the middle
    found = estimate_prevalence(Ratings.of(np.concatenate([field, doubtful])), label, p, seed=0, draws=50)
    assert found.p_value < 1e-6


def test_equal_ratings_are_in_one_bin():
    rng = np.random.default_rng(0)
    label = np.repeat([1, 0], [500, 500])
    saturated = np.where(rng.random(1000) < np.where(label, 0.5, 0.05), 1.0, rng.uniform(0.01, 0.99, 1000))
    rule = np.where(rng.random(1000) < np.where(label, 0.9, 0.2), 1.0, 0.0)
    for p in (saturated, rule):  # the survey is the labelled sample itself
        found = estimate_prevalence(Ratings.of(p), label, p, seed=0, draws=2)
        assert found.p_value > 0.99
        assert found.value == pytest.approx(0.5, abs=0.02)


def test_a_large_survey_fits_although_the_labelled_sample_is_small():
    """A bin without a labelled galaxy of a class may have many in a survey a thousand times as large."""
    p_values = []
    for number in range(40):
        rng = np.random.default_rng([11, number])
        label, p = rated(rng, 300, 350, separation=4.5)
        _, field = rated(rng, *rng.multinomial(300_000, [0.02, 0.98]), separation=4.5)
        p_values.append(estimate_prevalence(Ratings.of(field), label, p, seed=0, draws=2).p_value)
    assert 0.3 < np.mean(p_values) < 0.7 and np.mean(np.array(p_values) < 0.01) <= 0.05


def test_same_seed_same_interval():
    label, p = rated(np.random.default_rng(1), 50, 150)
    survey = Ratings.of(p)
    one, again, other = (estimate_prevalence(survey, label, p, seed=seed, draws=50) for seed in (0, 0, 1))
    assert one == again != other


def test_the_histogram_loses_nothing():
    p = np.concatenate([[0.0, 1.0, 0.5], np.random.default_rng(0).random(1000)])
    whole, parts = Ratings.of(p), Ratings.of(p[:100]) + Ratings.of(p[100:])
    assert whole.counts.sum() == 1003
    assert (whole.counts == parts.counts).all() and whole.sums == pytest.approx(parts.sums)
    for wrong in ([0.5, np.nan], [1.5], [[0.5]]):
        with pytest.raises(ValueError, match="list of probabilities"):
            Ratings.of(wrong)
    with pytest.raises(ValueError, match="no ratings"):
        estimate_prevalence(Ratings.of([]), [0, 1], [0.1, 0.9], seed=0)
