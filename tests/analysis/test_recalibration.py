"""Calibrators against scikit-learn, and recalibration of a simulated classifier whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mergerexp.analysis.calibration import ece, prior_shift
from mergerexp.analysis.calibrators import Isotonic, Platt, calibrator_from_dict
from mergerexp.analysis.metrics import scores
from mergerexp.analysis.recalibration import recalibrate, split_test_folds, thirds


def overconfident(n1: int, n0: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The recipe of a classifier like the paper's, whose logits are 1.8 times what is true at 1:1."""
    label = np.repeat([1, 0], [n1, n0])
    true_logit = 2 * 2.55 / 1.4**2 * rng.normal(2.55 * (2 * label - 1), 1.4)
    return label, expit(1.8 * true_logit)


def frame(n1: int, n0: int, rng: np.random.Generator, folds: int = 4) -> pd.DataFrame:
    label, p_m = overconfident(n1, n0, rng)
    objid = 587722981742084144 + rng.permutation(len(label))
    table = pd.DataFrame({"objid": objid, "label": label, "p_m": p_m, "split": "test", "seed": 0})
    table["true"] = expit(logit(p_m) / 1.8)  # where mergers are as many as others
    return table.assign(fold=np.arange(len(label)) % folds)


@pytest.mark.parametrize("decimals", [16, 2, 1])
@pytest.mark.parametrize("weighted", [False, True])
def test_isotonic_agrees_with_scikit_learn(decimals, weighted):
    rng = np.random.default_rng(decimals)
    p_m = np.round(rng.random(400) * 0.8 + 0.1, decimals)
    label = (rng.random(400) < p_m**2).astype(int)
    counts = rng.integers(0, 4, 400) if weighted else None
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p_m, label, sample_weight=counts)
    ours = Isotonic.fit(label, p_m, counts)
    new = np.concatenate([p_m, rng.random(500), [0.0, 1.0]])
    np.testing.assert_allclose(ours.apply(new), theirs.predict(new), atol=1e-12)
    np.testing.assert_allclose(ours.knots_in, theirs.X_thresholds_)
    np.testing.assert_allclose(ours.knots_out, theirs.y_thresholds_, atol=1e-12)


def test_isotonic_clip():
    calibrator = Isotonic.fit([0, 0, 0, 1, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.8, 0.9])
    assert calibrator.apply([0.0, 0.3, 0.6, 1.0]).tolist() == [0, 0, 1, 1]
    assert calibrator.apply([0.0, 1.0], clip=True).tolist() == [0.5 / 8, 1 - 0.5 / 8]
    assert calibrator.apply([0.45], clip=True).tolist() == pytest.approx([0.5])
    assert Isotonic.fit([0, 1, 1], [0.5, 0.5, 0.5]).apply([0.0, 0.9]).tolist() == [2 / 3, 2 / 3]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [60, 3000])
def test_platt_agrees_with_scikit_learn(n, weighted):
    rng = np.random.default_rng(n)
    label = np.tile([0, 1], n // 2)
    p_m = expit(rng.normal(1.5 * label - 0.9, 1.3))
    counts = rng.integers(0, 4, n) if weighted else np.ones(n)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(p_m)[:, None], label, counts)
    ours = Platt.fit(label, p_m, counts, prior_sd=1e4)
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], rel=1e-5)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], rel=1e-5, abs=1e-6)
    new = np.linspace(0.01, 0.99, 99)
    expected = theirs.predict_proba(logit(new)[:, None])[:, 1]
    np.testing.assert_allclose(ours.apply(new), expected, atol=1e-6)


@pytest.mark.parametrize("apart", [1, 6])
def test_platt_prior_agrees_with_scikit_learn(apart):
    """C is the variance of the prior; at 6 the classes do not overlap."""
    label = np.tile([0, 1], 40)
    x = np.random.default_rng(1).normal(apart * (label - 0.5), 1.0)
    assert (x[label == 1].min() > x[label == 0].max()) == (apart == 6)
    standard = ((x - x.mean()) / x.std())[:, None]
    theirs = LogisticRegression(C=100, tol=1e-10, max_iter=1000).fit(standard, label)
    ours = Platt.fit(label, expit(x))
    np.testing.assert_allclose(ours.apply(expit(x)), theirs.predict_proba(standard)[:, 1], rtol=1e-4)


def test_platt_smoothing_is_a_fit_to_the_smoothed_labels():
    """Each galaxy as a merger and a non-merger, weighted with Platt's target: what scikit-learn can fit."""
    rng = np.random.default_rng(1)
    label = np.repeat([1, 0], [30, 50])
    p_m = expit(rng.normal(2 * label - 1, 1.0))
    target = np.where(label == 1, 31 / 32, 1 / 52)
    theirs = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(
        np.tile(logit(p_m), 2)[:, None], np.repeat([1, 0], 80), np.concatenate([target, 1 - target])
    )
    ours = Platt.fit(label, p_m, smoothing=True, prior_sd=1e4)
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], rel=1e-5)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], rel=1e-5)


def test_platt_recovers_the_slope_that_undoes_overconfidence():
    label, p_m = overconfident(20_000, 20_000, np.random.default_rng(2))
    calibrator = Platt.fit(label, p_m)
    assert calibrator.slope == pytest.approx(1 / 1.8, rel=0.03)
    assert calibrator.intercept == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("options", [{}, {"smoothing": True}, {"prior_sd": 1e4}])
@pytest.mark.parametrize(
    "p_m",
    [
        [0.1, 0.2, 0.8, 0.9],
        [0.0, 0.0, 1.0, 1.0],
        [0.49999, 0.499999, 0.500001, 0.5001],
        [0.9, 0.8, 0.2, 0.1],
        [1e-9, 1e-8, 1e-7, 1.0],
    ],
)
def test_platt_of_separable_data_is_finite(p_m, options):
    calibrator = Platt.fit([0, 0, 1, 1], p_m, **options)
    result = calibrator.apply(p_m)
    assert np.isfinite([calibrator.slope, calibrator.intercept]).all()
    assert result.mean() == pytest.approx(0.5)  # as the intercept's likelihood equation has it
    assert result[:2].max() < result[2:].min()
    if "smoothing" in options:
        assert 0.2 < result.min() < result.max() < 0.8


def test_platt_copes_with_small_separable_folds_better_than_smoothing_or_nothing():
    rng = np.random.default_rng(11)
    test_label, test_p = overconfident(5000, 5000, rng)
    loss = {"default": [], "smoothed": [], "likelihood": []}
    options = ({}, {"smoothing": True}, {"prior_sd": 1e3})
    for _ in range(60):
        label, p_m = overconfident(12, 13, rng)
        for values, chosen in zip(loss.values(), options, strict=True):
            values.append(scores(test_label, Platt.fit(label, p_m, **chosen).apply(test_p))["log_loss"])
    mean = {name: np.mean(values) for name, values in loss.items()}
    assert mean["default"] < 0.8 * mean["smoothed"]
    assert mean["default"] < 0.8 * mean["likelihood"]


def test_platt_of_one_p_m_is_the_fraction():
    assert Platt.fit([0, 1, 1, 1], [0.3] * 4).apply(0.3) == pytest.approx(0.75)


@pytest.mark.parametrize("kind", [Isotonic, Platt])
def test_round_trip_through_json_is_exact(kind):
    rng = np.random.default_rng(3)
    label, p_m = overconfident(300, 500, rng)
    calibrator = kind.fit(label, p_m)
    again = calibrator_from_dict(json.loads(json.dumps(calibrator.to_dict())))
    assert again == calibrator
    assert calibrator_from_dict(calibrator.to_dict()) == calibrator
    new = np.concatenate([p_m, rng.random(1000), [0.0, 1.0]])
    for clip in (False, True):
        np.testing.assert_array_equal(again.apply(new, 0.02, clip), calibrator.apply(new, 0.02, clip))


@pytest.mark.parametrize("kind", [Isotonic, Platt])
def test_calibrator_knows_the_prevalence_it_holds_for(kind):
    """Fitted at 1:3 it gives, on request, what holds at 2 %; to the survey, that is calibrated."""
    rng = np.random.default_rng(4)
    calibrator = kind.fit(*overconfident(3000, 9000, rng))
    assert calibrator.prevalence == 0.25
    label, p_m = overconfident(2000, 98_000, rng)
    np.testing.assert_array_equal(calibrator.apply(p_m, 0.02), prior_shift(calibrator.apply(p_m), 0.25, 0.02))
    assert ece(label, calibrator.apply(p_m, 0.02)) < 0.3 * ece(label, calibrator.apply(p_m))


def test_thirds_are_stratified_and_seeded():
    label = np.repeat([1, 0], [30, 100])
    fitting = thirds(label, 1)
    assert (fitting[:30].sum(), fitting[30:].sum()) == (10, 33)
    np.testing.assert_array_equal(thirds(label, 1), fitting)
    assert (thirds(label, 2) != fitting).any()
    assert (thirds(label, [1, 2]) != thirds(label, [1, 3])).any()
    assert thirds([1, 1, 0, 0], 1).sum() == 2
    drawn = np.mean([thirds(label, seed) for seed in range(400)], axis=0)
    np.testing.assert_allclose(drawn, 1 / 3, atol=0.1)


def test_a_group_is_fitted_on_or_scored_but_not_both():
    label, group = np.repeat([1, 0], [90, 300]), np.arange(390) // 3
    fitting = thirds(label, 1, group)
    assert (fitting[:90].sum(), fitting[90:].sum()) == (30, 99)
    assert (fitting.reshape(-1, 3) == fitting[::3, None]).all()
    predictions = frame(90, 300, np.random.default_rng(6))
    predictions = predictions.assign(group=predictions["objid"] // 3)
    parts = split_test_folds(predictions, seed=1).groupby(["fold", "group"])["fitting"].nunique()
    assert len(parts) >= 130 and (parts == 1).all()
    with pytest.raises(ValueError, match="of two groups"):
        thirds([1, 1, 1, 0, 0], 1, [0, 0, 0, 1, 2])


def test_recalibrate_scores_only_what_it_was_not_fitted_on():
    predictions = frame(200, 400, np.random.default_rng(5))
    predictions = pd.concat([predictions, predictions.assign(split="val")], ignore_index=True)
    pooled, calibrators = recalibrate(predictions, "isotonic", seed=1)
    split = split_test_folds(predictions, seed=1)
    assert len(split) == 600
    assert len(pooled) == 400
    assert set(calibrators) == {(0, fold) for fold in range(4)}
    assert pooled["objid"].dtype == np.int64
    assert not set(pooled["objid"]) & set(split.loc[split["fitting"], "objid"])
    for (_, fold), calibrator in calibrators.items():
        third = split[split["fitting"] & (split["fold"] == fold)]
        assert calibrator == Isotonic.fit(third["label"], third["p_m"])
        rest = pooled[pooled["fold"] == fold]
        np.testing.assert_array_equal(rest["p_cal"], calibrator.apply(rest["p_m"]))
        np.testing.assert_array_equal(rest["p_cal_clipped"], calibrator.apply(rest["p_m"], clip=True))
    raw = predictions[predictions["split"] == "test"].set_index("objid")["p_m"]
    np.testing.assert_array_equal(pooled["p_m"], raw[pooled["objid"]])


def test_the_draw_depends_on_seed_and_fold_alone():
    rng = np.random.default_rng(6)
    one = frame(80, 160, rng)
    galaxies = set(recalibrate(one, "platt", seed=1)[0]["objid"])
    other_method, _ = recalibrate(
        one.sample(frac=1, random_state=1).assign(p_m=rng.random(240), seed=7), "isotonic", seed=1
    )
    assert set(other_method["objid"]) == galaxies
    assert set(recalibrate(one, "platt", seed=2)[0]["objid"]) != galaxies
    both, calibrators = recalibrate(pd.concat([one, one.assign(seed=7)]), "platt", seed=1)
    assert both.groupby("seed")["objid"].apply(set).tolist() == [galaxies, galaxies]
    assert calibrators[0, 2] == calibrators[7, 2]
    alone, _ = recalibrate(one[one["fold"] == 2], "platt", seed=1)
    assert set(alone["objid"]) == set(both.loc[both["fold"] == 2, "objid"])
    fitting = split_test_folds(one, seed=1)
    places = [
        tuple(part.sort_values("label", kind="stable")["fitting"]) for _, part in fitting.groupby("fold")
    ]
    assert len(set(places)) == 4


@pytest.mark.parametrize(("method", "remains"), [("isotonic", 0.75), ("platt", 0.55)])
def test_recalibration_mends_an_overconfident_classifier(method, remains):
    """Half of Platt's remaining ECE is what true probabilities have, of 4000 scored galaxies."""
    rng = np.random.default_rng(7)
    before, after = [], []
    for number in range(12):
        pooled, _ = recalibrate(frame(3000, 3000, rng), method, seed=number)
        for values, p, p_for_log in ((before, "p_m", "p_m"), (after, "p_cal", "p_cal_clipped")):
            log_loss = scores(pooled["label"], pooled[p_for_log])["log_loss"]
            off = np.abs(pooled[p] - pooled["true"]).mean()
            values.append((ece(pooled["label"], pooled[p]), log_loss, off))
    assert (np.array(after) < before).mean(axis=0)[0] > 0.9
    assert (np.mean(after, axis=0) < np.mean(before, axis=0)).all()
    assert np.mean(after, axis=0)[0] < remains * np.mean(before, axis=0)[0]


def test_recalibration_for_one_to_one_of_an_unbalanced_data_set():
    """A balanced network's p_m holds at 1:1; so does, asked for, p_cal, whatever the data's ratio."""
    predictions = frame(3000, 10_000, np.random.default_rng(8))
    balanced, _ = recalibrate(predictions, "platt", seed=1, prevalence=0.5)
    own, _ = recalibrate(predictions, "platt", seed=1)
    true = own["true"]
    assert np.abs(balanced["p_cal"] - true).mean() < 0.5 * np.abs(own["p_m"] - true).mean()
    assert np.abs(own["p_cal"] - prior_shift(true, 0.5, 3 / 13)).mean() < 0.006
    assert np.abs(own["p_cal"] - true).mean() > 3 * np.abs(balanced["p_cal"] - true).mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["seed", "p_m"]), r"lack the columns \['seed', 'p_m'\]"),
        (lambda t: t.assign(objid=t["objid"].astype(float)), "objid must be of integers"),
        (lambda t: t.assign(split="val"), "no row whose split is 'test'"),
        (lambda t: pd.concat([t, t]), "several test rows"),
        (lambda t: t.assign(label=np.where(t["fold"] == 2, 1, t["label"])), "fold 2 of seed 0: both classes"),
        (lambda t: t.assign(p_m=t["p_m"].where(t["fold"] != 3)), "fold 3 of seed 0: .*NaN"),
        (lambda t: t[(t["label"] == 0) | (t.index < 4)], "fold 0 of seed 0: at least two"),
    ],
)
def test_bad_predictions(change, message):
    with pytest.raises(ValueError, match=message):
        recalibrate(change(frame(20, 20, np.random.default_rng(9))), "platt", seed=1)


def test_bad_calls():
    with pytest.raises(ValueError, match="prior_sd"):
        Platt.fit([0, 1], [0.1, 0.2], prior_sd=np.inf)
    table = frame(20, 20, np.random.default_rng(10))
    with pytest.raises(ValueError, match="isotonic, platt, not 'beta'"):
        recalibrate(table, "beta", seed=1)
    with pytest.raises(ValueError, match="prevalence"):
        recalibrate(table, "platt", seed=1, prevalence=1.0)
    for kind in (Isotonic, Platt):
        with pytest.raises(ValueError, match="NaN"):
            kind.fit([0, 1], [0.1, np.nan])
        with pytest.raises(ValueError, match="counts"):
            kind.fit([0, 1], [0.1, 0.2], [1, -1])
        with pytest.raises(ValueError, match="both classes"):
            kind.fit([0, 1], [0.1, 0.2], [1, 0])
        with pytest.raises(ValueError, match="both classes"):
            kind.fit([1, 1], [0.1, 0.2])
        with pytest.raises(ValueError, match="NaN"):
            kind.fit([0, 1], [0.1, 0.2]).apply([np.nan])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "beta"}, "isotonic, platt"),
        ({"slope": np.nan}, "finite slope"),
        ({"slope": "steep"}, "platt calibrator"),
        ({"prevalence": 0}, "prevalence between"),
        ({"limit": 0.7}, "limit between"),
        ({"knots": [1]}, r"unknown \['knots'\]"),
        ({"method": "isotonic"}, r"missing \['knots_in', 'knots_out', 'n'\]"),
    ],
)
def test_bad_platt_file(change, message):
    good = {"method": "platt", "prevalence": 0.5, "slope": 0.5, "intercept": 0.1, "limit": 1e-12}
    calibrator_from_dict(good)
    with pytest.raises(ValueError, match=message):
        calibrator_from_dict(good | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"knots_in": [0.5, 0.1]}, "ascending knots_in"),
        ({"knots_in": [0.5, None]}, "isotonic calibrator"),
        ({"knots_in": [0.5]}, "as many"),
        ({"knots_in": [], "knots_out": []}, "one at least"),
        ({"knots_out": [0.5, 0.1]}, "non-decreasing"),
        ({"knots_out": [0.5, 1.1]}, r"\[0, 1\]"),
        ({"n": 0}, "n of at least 1"),
    ],
)
def test_bad_isotonic_file(change, message):
    good = {"method": "isotonic", "prevalence": 0.5, "knots_in": [0.1, 0.5], "knots_out": [0.0, 1.0], "n": 9}
    calibrator_from_dict(good)
    with pytest.raises(ValueError, match=message):
        calibrator_from_dict(good | change)
    for wrong in ({}, [1]):
        with pytest.raises(ValueError, match="'method'"):
            calibrator_from_dict(wrong)
