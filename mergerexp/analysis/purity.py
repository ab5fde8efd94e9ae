"""Densities of a class that a classifier neither finds completely nor without false alarms.

Each selected object counts as its probability to be of the class, over the chance that an object like it is
selected if it is of the class:

    N = Σ_selected p_i / r(x_i).

The chance r, the recall, depends on magnitude, redshift and size, and is measured on labelled objects that
the classifier has not been trained on. The probability p is at the prevalence of objects like x, not of all:
if the class is rare among massive objects, a p for the whole survey has too many of these. So the prevalence
is fitted as a function of x to the ratings of all objects, as EM estimates it for the whole survey (Saerens
et al. 2002). The sum has the right expectation where the ratings are ratios of likelihoods for objects at any
x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit

from mergerexp.analysis.metrics import Floats

PRIOR_SD = 3.0  # of each coefficient on standardised variables, so that few objects give no steep slopes
LEAST = 0.05  # recall; an object counts as no more than twenty
FEWEST = 20  # objects that something is fitted to
REACH = 2.5  # standard deviations to which a fit is believed
SURE = 30.0  # the largest logarithm of a ratio of likelihoods


@dataclass(frozen=True)
class Logistic:
    """A chance that depends on variables by a logistic regression.

    Attributes
    ----------
    centre, scale : ndarray of float, shape (k,)
        How the variables are standardised.
    coefficients : ndarray of float, shape (k + 1,)
        The slopes, and the constant at the end.
    objects : int
        The number of objects that it was fitted to.
    """

    centre: Floats
    scale: Floats
    coefficients: Floats
    objects: int

    def at(self, variables: ArrayLike) -> Floats:
        """Return the chance for some objects.

        Parameters
        ----------
        variables : array_like of float, shape (n, k)
            What it depends on. Values beyond 2.5 standard deviations of those of the fit count as these.

        Returns
        -------
        ndarray of float, shape (n,)
            The chance.
        """
        return np.asarray(expit(_design(variables, self.centre, self.scale) @ self.coefficients))


def _design(variables: ArrayLike, centre: Floats, scale: Floats) -> Floats:
    x = np.clip((np.asarray(variables, dtype=np.float64) - centre) / scale, -REACH, REACH)
    return np.column_stack([x, np.ones(len(x))])


def fit_recall(variables: ArrayLike, is_selected: ArrayLike) -> Logistic:
    """Fit the recall to labelled objects of the class.

    Parameters
    ----------
    variables : array_like of float, shape (n, k)
        What it may depend on, such as magnitude, logarithm of the redshift, and logarithm of the size.
    is_selected : array_like of bool, shape (n,)
        Whether each object was selected by a classifier that has not been trained on it.

    Returns
    -------
    Logistic
        The recall.

    Raises
    ------
    ValueError
        If there are fewer than 20 objects, or a variable is not finite.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 400)[:, None]
    >>> recall = fit_recall(x, np.tile([True, False], 200))
    >>> recall.at([[0.3]]).round(2)
    array([0.5])
    """
    target = np.asarray(is_selected, dtype=np.float64)

    def loss(eta: Floats) -> tuple[float, Floats]:
        return float(np.logaddexp(0, eta).sum() - target @ eta), expit(eta) - target

    return _fit(variables, loss, "recall")


def fit_prevalence(variables: ArrayLike, log_ratio: ArrayLike) -> Logistic:
    """Fit the fraction of the class among objects of a survey, from their ratings.

    Parameters
    ----------
    variables : array_like of float, shape (n, k)
        What it may depend on, such as the mass and its square.
    log_ratio : array_like of float, shape (n,)
        The logarithm of the ratio of the likelihoods of each rating, for the class and for other objects: the
        logit of a calibrated probability, without that of the prevalence at which it is calibrated.

    Returns
    -------
    Logistic
        The fraction.

    Raises
    ------
    ValueError
        If there are fewer than 20 objects, or a value is not finite.

    Examples
    --------
    >>> sure = np.where(np.arange(1000) < 100, 20.0, -20.0)
    >>> fit_prevalence(np.linspace(-1, 1, 1000)[::-1, None] ** 0, sure).at([[1.0]]).round(2)
    array([0.1])
    """
    ratio = np.clip(np.asarray(log_ratio, dtype=np.float64), -SURE, SURE)
    if np.isnan(ratio).any():
        raise ValueError("a rating is not a number")

    def loss(eta: Floats) -> tuple[float, Floats]:
        # The likelihood of an object is 1 - f + f R, with f = expit(eta).
        value = np.logaddexp(0, eta) - np.logaddexp(0, eta + ratio)
        return float(value.sum()), expit(eta) - expit(eta + ratio)

    return _fit(variables, loss, "prevalence")


def _fit(variables: ArrayLike, loss: Callable[[Floats], tuple[float, Floats]], what: str) -> Logistic:
    """Minimise a loss of the logits, with a normal prior for slopes and half an object of either kind."""
    values = np.asarray(variables, dtype=np.float64)
    if len(values) < FEWEST:
        raise ValueError(f"{len(values)} objects are too few for the {what}; {FEWEST} are needed")
    if not np.isfinite(values).all():
        raise ValueError(f"a variable that the {what} may depend on is not a number")
    centre, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x = _design(values, centre, scale)
    ridge = np.append(np.full(x.shape[1] - 1, PRIOR_SD**-2), 0.0)

    def whole(beta: Floats) -> tuple[float, Floats]:
        value, slope = loss(x @ beta)
        value += float(ridge @ beta**2) / 2 + float(np.logaddexp(0, beta[-1])) - float(beta[-1]) / 2
        gradient = x.T @ slope + ridge * beta
        gradient[-1] += expit(beta[-1]) - 0.5
        return value / len(x), gradient / len(x)

    found = minimize(whole, np.zeros(x.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-8})
    return Logistic(centre, scale, np.asarray(found.x), len(x))


def posterior(prevalence: ArrayLike, log_ratio: ArrayLike) -> Floats:
    """Return the probability of the class at a prevalence.

    Parameters
    ----------
    prevalence : array_like of float, shape (n,)
        The fraction of the class among objects like each, in (0, 1).
    log_ratio : array_like of float, shape (n,)
        The logarithm of the ratio of the likelihoods of each rating; see `fit_prevalence`.

    Returns
    -------
    ndarray of float, shape (n,)
        The probabilities.

    Examples
    --------
    >>> posterior([0.5, 0.1], [0.0, np.log(9)]).round(6)
    array([0.5, 0.5])
    """
    f, ratio = np.asarray(prevalence, dtype=np.float64), np.asarray(log_ratio, dtype=np.float64)
    return np.asarray(expit(np.log(f) - np.log1p(-f) + ratio))


def corrected_weights(probability: ArrayLike, recall: ArrayLike) -> Floats:
    """Return what each selected object counts as.

    Parameters
    ----------
    probability : array_like of float, shape (n,)
        The probability of each to be of the class.
    recall : array_like of float, shape (n,)
        The chance that an object like it would be selected, of which less than 0.05 counts as 0.05.

    Returns
    -------
    ndarray of float, shape (n,)
        Weights.

    Raises
    ------
    ValueError
        If a probability or recall is not in [0, 1].

    Examples
    --------
    >>> corrected_weights([0.5, 0.9, 0.5], [0.5, 0.9, 0.0])
    array([ 1.,  1., 10.])
    """
    p, r = np.asarray(probability, dtype=np.float64), np.asarray(recall, dtype=np.float64)
    if not ((p >= 0) & (p <= 1) & (r >= 0) & (r <= 1)).all():
        raise ValueError(
            "the probabilities and the recall of selected objects must be in [0, 1], without NaN"
        )
    return np.asarray(p / np.maximum(r, LEAST))
