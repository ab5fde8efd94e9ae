"""How often the estimated fraction of mergers in a field is right, with ratings that a network really gave.

    python -m benchmarks.prevalence_coverage SURVEY DATASET [--foreign SURVEY]

SURVEY is the folder of a rated data set whose galaxies the networks have not seen, and DATASET the prepared
data set, which has their labels. Each draw divides the galaxies at random in two: a labelled sample comes
from one half, and a field with few mergers from the other. The estimate knows the labels of the sample alone.
With --foreign, a part of the field is taken from another survey, which breaks what the estimate assumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergerexp.analysis.calibration import ece_null, prior_shift
from mergerexp.analysis.calibrators import Platt
from mergerexp.analysis.prevalence import Ratings, estimate_prevalence
from mergerexp.data.store import Dataset
from mergerexp.survey.catalogue import NAME

SAMPLE = (500, 1500)  # labelled mergers and others
FIELD, TRUTH = 4000, 0.02  # galaxies of a field, and the fraction of mergers that it is drawn with
INTERVAL_DRAWS = 200
Floats = NDArray[np.float64]


def ratings(survey: Path, network: int) -> pd.DataFrame:
    """Return the ids and the ratings of a survey by one network, less those that have none."""
    table = pd.read_parquet(survey / f"{NAME}.parquet", columns=["objid", f"p_m{network}"])
    return table.set_axis(["objid", "p_m"], axis=1).dropna()


def draw(one: Floats, other: Floats, foreign: Floats, share: float, number: int) -> dict[str, float]:
    """Draw a sample and a field, and return what the estimate says of the field.

    Parameters
    ----------
    one, other
        The ratings of all mergers and of all others.
    foreign
        The ratings of galaxies of another kind.
    share
        The fraction of the field that is of these.
    number
        The number of the draw, which is its seed.
    """
    rng = np.random.default_rng([3, number])
    one, other = rng.permutation(one), rng.permutation(other)
    label = np.repeat([1, 0], SAMPLE)
    sample = np.concatenate([one[: SAMPLE[0]], other[: SAMPLE[1]]])
    strangers = round(share * FIELD)
    mergers = rng.binomial(FIELD - strangers, TRUTH)
    own = [one[SAMPLE[0] :][:mergers], other[SAMPLE[1] :][: FIELD - strangers - mergers]]
    assert sum(map(len, own)) == FIELD - strangers, "too few galaxies for a field"
    field = np.concatenate([*own, rng.choice(foreign, strangers) if strangers else []])
    found = estimate_prevalence(Ratings.of(field), label, sample, seed=number, draws=INTERVAL_DRAWS)
    truth = np.zeros(len(field))
    truth[:mergers] = 1
    inside = found.low <= TRUTH <= found.high
    row = {"value": found.value, "inside": inside, "fit": found.p_value}
    platt = Platt.fit(label, sample)
    for name, prevalence in {"given": TRUTH, "estimated": found.value}.items() if not strangers else ():
        at = float(np.clip(prevalence, 0.5 / FIELD, 1 - 0.5 / FIELD))
        p_prior = prior_shift(platt.apply(field), platt.prevalence, at)
        null = ece_null(truth, p_prior, seed=number, draws=200)
        row |= {f"{name} {key}": value for key, value in null.items()}
    return row


def main() -> None:
    """Print how often the interval covers the truth, and what the goodness of fit says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("survey", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--foreign", type=Path)
    parser.add_argument("--network", type=int, default=0)
    parser.add_argument("--draws", type=int, default=100)
    args = parser.parse_args()
    rated = ratings(args.survey, args.network)
    dataset = Dataset.open(args.dataset)
    labels = pd.Series(dataset.labels, index=dataset.objids).loc[rated["objid"]].to_numpy()
    p_m = rated["p_m"].to_numpy()
    foreign = np.zeros(0) if args.foreign is None else ratings(args.foreign, args.network)["p_m"].to_numpy()
    print(
        f"{(labels == 1).sum()} mergers and {(labels == 0).sum()} others are rated; fields of {FIELD} with "
        f"{100 * TRUTH:g} % mergers, samples of {SAMPLE[0]} and {SAMPLE[1]}, {args.draws} draws of each kind"
    )
    for share in (0.0, *((0.02, 0.1, 0.3) if len(foreign) else ())):
        rows = [draw(p_m[labels == 1], p_m[labels == 0], foreign, share, each) for each in range(args.draws)]
        tell(share, pd.DataFrame(rows))


def tell(share: float, table: pd.DataFrame) -> None:
    """Print what became of the draws of one kind."""
    value, fit = table["value"], table["fit"]
    print(
        f"{100 * share:g} % foreign: truth inside the interval in {table['inside'].sum()} of {len(table)}; "
        f"estimate {value.mean():.4f} ± {value.std():.4f}; "
        f"goodness of fit: median p {fit.median():.2g}, below 0.001 in {(fit < 0.001).sum()}"
    )
    for name in ("given", "estimated") if "given ece" in table else ():
        ece, ideal, p = (table[f"{name} {key}"] for key in ("ece", "mean", "p_value"))
        print(
            f"  ECE of p_prior at the {name} fraction: {ece.mean():.4f}, {ideal.mean():.4f} if it were true; "
            f"p: median {p.median():.2f}, below 0.05 in {(p < 0.05).sum()}"
        )


if __name__ == "__main__":
    main()
