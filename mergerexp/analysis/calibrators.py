"""Maps from a network's p_m to a probability that holds: isotonic (the paper's) and Platt's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from mergerexp.analysis.calibration import prior_shift
from mergerexp.analysis.metrics import Floats, checked


@dataclass(frozen=True)
class Calibrator(ABC):
    """What both maps share.

    Attributes
    ----------
    prevalence
        Fraction of mergers among the galaxies that it was fitted to, and for which its answer holds.
    """

    prevalence: float
    method: ClassVar[str]

    def apply(self, p_m: ArrayLike, prevalence: float | None = None, clip: bool = False) -> Floats:
        """Return the calibrated probability, of the shape of p_m.

        Parameters
        ----------
        p_m
            The network's merger probability, of any shape.
        prevalence
            Fraction of mergers for which the answer is to hold (see `prior_shift`); None for the
            calibrator's own.
        clip
            Keep isotonic's answer off 0 and 1 for a log-loss (see `Isotonic`); Platt's stays as it is.

        Raises
        ------
        ValueError
            If p_m is not in [0, 1], or the prevalence not between 0 and 1.
        """
        p = np.asarray(p_m, dtype=np.float64)
        if not ((p >= 0) & (p <= 1)).all():
            raise ValueError("p_m must lie in [0, 1], without NaN")
        mapped = self._mapped(p, clip)
        return mapped if prevalence is None else prior_shift(mapped, self.prevalence, prevalence)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists for a JSON file; `calibrator_from_dict` reads them back exactly."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return {"method": self.method, **plain}

    @abstractmethod
    def _mapped(self, p: Floats, clip: bool) -> Floats:
        """Return the answer for the calibrator's own prevalence."""

    def _check(self, wrong: Mapping[str, bool]) -> None:
        for rule, broken in {"prevalence between 0 and 1": not 0 < self.prevalence < 1, **wrong}.items():
            if broken:
                raise ValueError(f"{self.method} calibrator needs {rule}")


@dataclass(frozen=True)
class Isotonic(Calibrator):
    """The non-decreasing map that fits best in the mean square (Zadrozny & Elkan 2002, KDD).

    Straight between its knots and flat outside, as scikit-learn's
    ``IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")``.

    Attributes
    ----------
    knots_in, knots_out
        Raw and calibrated probability at the knots.
    n
        Number of galaxies fitted; clipped probabilities lie in [.5 / (n + 1), 1 - .5 / (n + 1)].
    """

    knots_in: tuple[float, ...]
    knots_out: tuple[float, ...]
    n: int
    method: ClassVar[str] = "isotonic"

    def __post_init__(self) -> None:
        raw, calibrated = np.asarray(self.knots_in), np.asarray(self.knots_out)
        self._check(
            {
                "as many knots_in as knots_out, and one at least": not 0 < len(raw) == len(calibrated),
                "knots in [0, 1]": not all(((x >= 0) & (x <= 1)).all() for x in (raw, calibrated)),
                "ascending knots_in": not (np.diff(raw) > 0).all(),
                "non-decreasing knots_out": not (np.diff(calibrated) >= 0).all(),
                "n of at least 1": not self.n >= 1,
            }
        )

    @classmethod
    def fit(cls, label: ArrayLike, p_m: ArrayLike, counts: ArrayLike | None = None) -> Isotonic:
        """Fit the map.

        Parameters
        ----------
        label
            1 for a merger, 0 else; shape (n,).
        p_m
            Merger probability; shape (n,).
        counts
            How often each galaxy counts (in a bootstrap), shape (n,); None for once.

        Raises
        ------
        ValueError
            If a class is absent, or shapes, labels, probabilities or counts are wrong.
        """
        truth, p, weight = _fitted_on(label, p_m, counts)
        knots, tie = np.unique(p, return_inverse=True)
        total = np.bincount(tie, weight)
        fitted = isotonic_regression(np.bincount(tie, weight * truth) / total, weights=total).x.clip(0, 1)
        step = np.concatenate([[True], np.diff(fitted) != 0, [True]])
        bends = step[:-1] | step[1:]
        return cls(
            prevalence=float(weight[truth].sum() / weight.sum()),
            knots_in=tuple(knots[bends].tolist()),
            knots_out=tuple(fitted[bends].tolist()),
            n=round(weight.sum()),
        )

    def _mapped(self, p: Floats, clip: bool) -> Floats:
        calibrated: Floats = np.interp(p, self.knots_in, self.knots_out)
        margin = 0.5 / (self.n + 1)
        return calibrated.clip(margin, 1 - margin) if clip else calibrated


@dataclass(frozen=True)
class Platt(Calibrator):
    """The logistic map: logit of the probability = slope · logit(p_m) + intercept (Platt 1999).

    With few galaxies, a third of a fold may well be separable: one cut without any error, for which
    maximum likelihood is a step, so that the next mistake costs all. Platt's cure, smoothed labels, blurs
    a good classifier far too much (log-loss .17 where .11 can be had, for folds of 75 galaxies and an error
    of 3 %). By default the slope has a weak prior instead, which fits to many galaxies hardly feel.

    Attributes
    ----------
    slope, intercept
        Below 1, the slope mends overconfidence.
    limit
        p_m is clipped to [limit, 1 - limit] before its logit is taken.
    """

    slope: float
    intercept: float
    limit: float = 1e-12
    method: ClassVar[str] = "platt"

    def __post_init__(self) -> None:
        self._check(
            {
                "a finite slope and intercept": not np.isfinite([self.slope, self.intercept]).all(),
                "a limit between 0 and 0.5": not 0 < self.limit < 0.5,
            }
        )

    @classmethod
    def fit(
        cls,
        label: ArrayLike,
        p_m: ArrayLike,
        counts: ArrayLike | None = None,
        smoothing: bool = False,
        prior_sd: float = 10.0,
    ) -> Platt:
        """Fit the map by maximum posterior probability.

        Parameters
        ----------
        label, p_m, counts
            As for `Isotonic.fit`.
        smoothing
            Fit to (n₁ + 1) / (n₁ + 2) and 1 / (n₀ + 2) instead of 1 and 0, as Platt does.
        prior_sd
            Width of the normal prior, centred on 0, of the slope per standard deviation of logit(p_m).

        Raises
        ------
        ValueError
            As `Isotonic.fit` does, or if prior_sd is not positive and finite.
        """
        if not 0 < prior_sd < np.inf:
            raise ValueError(f"prior_sd must be positive and finite, not {prior_sd}")
        truth, p, weight = _fitted_on(label, p_m, counts)
        n1, n0 = float(weight[truth].sum()), float(weight[~truth].sum())
        high, low = ((n1 + 1) / (n1 + 2), 1 / (n0 + 2)) if smoothing else (1.0, 0.0)
        raw = logit(p.clip(cls.limit, 1 - cls.limit))
        slope, intercept = _logistic(raw, np.where(truth, high, low), weight, prior_sd)
        return cls(prevalence=n1 / (n1 + n0), slope=slope, intercept=intercept)

    def _mapped(self, p: Floats, clip: bool) -> Floats:
        raw = logit(p.clip(self.limit, 1 - self.limit))
        calibrated: Floats = expit(self.slope * raw + self.intercept)
        return calibrated


def calibrator_class(method: str) -> type[Isotonic] | type[Platt]:
    """Return the class of a method's name, or raise a ValueError that lists the names."""
    kinds: dict[str, type[Isotonic] | type[Platt]] = {kind.method: kind for kind in (Isotonic, Platt)}
    if method not in kinds:
        raise ValueError(f"method must be one of {', '.join(kinds)}, not {method!r}")
    return kinds[method]


def calibrator_from_dict(values: Mapping[str, Any]) -> Calibrator:
    """Rebuild a calibrator from `Calibrator.to_dict`; a ValueError names what is missing or impossible."""
    if not isinstance(values, Mapping) or "method" not in values:
        raise ValueError("a calibrator must be a mapping with the key 'method'")
    kind = calibrator_class(values["method"])
    given, needed = set(values) - {"method"}, {field.name for field in fields(kind)}
    if given != needed:
        raise ValueError(
            f"{kind.method} calibrator: missing {sorted(needed - given)}, unknown {sorted(given - needed)}"
        )
    try:
        arguments: dict[str, Any] = {
            key: tuple(values[key]) if key.startswith("knots") else values[key] for key in needed
        }
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"{kind.method} calibrator: {error}") from error


def _fitted_on(
    label: ArrayLike, p_m: ArrayLike, counts: ArrayLike | None
) -> tuple[NDArray[np.bool_], Floats, Floats]:
    truth, p = checked(label, p_m)
    if counts is None:
        return truth, p, np.ones(len(p))
    weight = np.asarray(counts, dtype=np.float64)
    if weight.shape != p.shape or not ((weight >= 0) & np.isfinite(weight)).all():
        raise ValueError("counts must be finite, not negative, and as many as labels")
    used = weight > 0
    truth, p = checked(truth[used], p[used])
    return truth, p, weight[used]


def _logistic(x: Floats, target: Floats, weight: Floats, prior_sd: float) -> tuple[float, float]:
    """Return slope and intercept of a logistic regression, by damped Newton steps on standardised x."""
    total = weight.sum()
    centre = weight @ x / total
    scale = np.sqrt(weight @ (x - centre) ** 2 / total) or 1.0
    design = np.stack([(x - centre) / scale, np.ones_like(x)])
    ridge = np.array([prior_sd**-2, 0.0])

    def loss(beta: Floats) -> float:
        eta = beta @ design
        return float(weight @ (np.logaddexp(0, eta) - target * eta) + ridge @ beta**2 / 2)

    beta = np.array([0.0, logit(weight @ target / total)])
    for _ in range(100):
        mu = expit(beta @ design)
        gradient = design @ (weight * (mu - target)) + ridge * beta
        step = np.linalg.solve(design * (weight * mu * (1 - mu)) @ design.T + np.diag(ridge), gradient)
        gain = float(gradient @ step)
        if gain <= 1e-10 * total:  # one full step from here is exact to rounding
            slope, intercept = beta - step
            return float(slope / scale), float(intercept - slope * centre / scale)
        size = 1.0
        while loss(beta - size * step) > loss(beta) - 1e-4 * size * gain:
            size /= 2
        beta = beta - size * step
    raise RuntimeError("the logistic fit did not converge in 100 Newton steps")
