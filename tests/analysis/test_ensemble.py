"""Ratings of several networks: means of what is there, and nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from mergerexp.analysis.ensemble import combined


def test_ratings_of_several_networks():
    """Where no network may rate a galaxy, it has no probability; one alone gives its own."""
    nothing = [np.nan] * 4
    found = combined(
        [[0.9, 0.8, 0.7, 0.6], [np.nan, 0.3, np.nan, np.nan], nothing],
        [[0.5, 0.5, 0.5, 0.5], [np.nan, 0.1, np.nan, np.nan], nothing],
    )
    best, calibrated, spread = found.p_best, found.p_calibrated, found.logit_sd
    assert best[:2] == pytest.approx([0.75, 0.3]) and calibrated[:2] == pytest.approx([0.5, 0.1])
    assert np.isnan([best[2], calibrated[2], spread[1], spread[2]]).all() and spread[0] > 0


def test_a_mean_of_calibrated_logits_is_no_mean_of_probabilities():
    found = combined([[0.9, 0.5]], [[0.99, 0.5]])
    assert found.p_calibrated[0] == pytest.approx(1 / (1 + 99**-0.5))
    assert found.p_logitmean[0] == pytest.approx(0.75)  # the odds of 9 and 1 have the mean 3
