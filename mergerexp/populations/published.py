"""Merger probabilities that somebody else has published beside those of the catalogue, object by object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mergerexp.analysis.agreement import Agreement, agreement
from mergerexp.analysis.metrics import Floats
from mergerexp.frames import records, sexagesimal
from mergerexp.populations.draws import Draw
from mergerexp.populations.galaxies import Flags, Galaxies, joined
from mergerexp.report.table import Table

DRAWN = 100_000  # galaxies whose ratings are compared
OURS, THEIRS = "ours", "published"


@dataclass(frozen=True)
class PublishedComparison:
    """What a comparison with published ratings has found.

    Attributes
    ----------
    rated_by
        How many galaxies of the sample both have rated, and how many only one.
    without_a_row
        How many published ratings belong to no row of the catalogue.
    agreement
        How well the ratings agree.
    cuts
        For each cut, the galaxies that both have above it, and those that only one has.
    drawn
        Galaxies with both ratings, drawn at random.
    alone
        The galaxies that only one of both has above the cut of classified mergers.
    """

    rated_by: dict[str, int]
    without_a_row: int
    agreement: Agreement
    cuts: pd.DataFrame
    drawn: Galaxies
    alone: Galaxies


class Comparing:
    """Compares published ratings with those of the catalogue.

    Parameters
    ----------
    cut
        Above which a galaxy is a classified merger.
    cuts
        All cuts that mergers are counted above.
    beside
        Which of the catalogue's ratings is compared: "p" or "p_calibrated".
    """

    def __init__(self, cut: float, cuts: list[float], beside: str) -> None:
        self.cut, self.beside = cut, beside
        self._counts = {each: np.zeros(3, dtype=np.int64) for each in sorted({cut, *cuts})}
        self._rated = {"both": 0, OURS: 0, THEIRS: 0}
        self._draw = Draw(DRAWN)
        self._alone: list[Galaxies] = []

    def add(self, part: Galaxies) -> None:
        """Look at further galaxies."""
        ours = ratings(part, self.beside)
        has_ours, has_theirs = ~np.isnan(ours), ~np.isnan(part.p_published)
        for name, rows in (
            ("both", has_ours & has_theirs),
            (OURS, has_ours & ~has_theirs),
            (THEIRS, has_theirs & ~has_ours),
        ):
            self._rated[name] += int(rows.sum())
        both = has_ours & has_theirs
        for cut, counts in self._counts.items():
            first, second = both & (ours > cut), both & (part.p_published > cut)
            counts += _sum(first & second), _sum(first & ~second), _sum(second & ~first)
            if cut == self.cut:
                self._alone.append(part.take(first ^ second))
        self._draw.add(part.take(both))

    def finish(self, without_a_row: int) -> PublishedComparison:
        """Return what was found.

        Raises
        ------
        ValueError
            If no galaxy of the sample has both ratings.
        """
        if not self._draw.total:
            raise ValueError("no galaxy of the sample has both ratings")
        drawn, alone = self._draw.galaxies(), joined(self._alone)
        strongest = np.argsort(-np.abs(ratings(alone, self.beside) - alone.p_published), kind="stable")
        rows = [
            {"p_above": cut, "both": both, "only_ours": ours, "only_published": theirs}
            for cut, (both, ours, theirs) in self._counts.items()
        ]
        return PublishedComparison(
            dict(self._rated), without_a_row,
            agreement(ratings(drawn, self.beside), drawn.p_published),
            pd.DataFrame(rows), drawn, alone.take(strongest),
        )  # fmt: skip


def ratings(galaxies: Galaxies, beside: str) -> Floats:
    """Return the ratings that published ones are compared with."""
    return galaxies.p if beside == "p" else galaxies.p_calibrated


def _sum(rows: Flags) -> int:
    return int(rows.sum())


def comparison_tables(found: PublishedComparison, beside: str, cut: float, listed: int) -> list[Table]:
    """Return the tables of a comparison.

    Parameters
    ----------
    found
        What was found.
    beside
        Which of the catalogue's ratings was compared.
    cut
        Above which a galaxy is a classified merger.
    listed
        How many of the galaxies that only one has are shown; the CSV file has all.
    """
    return [_agreement_table(found, beside), _cuts_table(found), _alone_table(found, beside, cut, listed)]


def _agreement_table(found: PublishedComparison, beside: str) -> Table:
    rated, how = found.rated_by, found.agreement
    numbers = pd.DataFrame(
        [
            {
                **{f"rated_by_{name}": count for name, count in rated.items()},
                "published_without_a_row": found.without_a_row,
                **how.__dict__,
            }
        ]
    )
    known = not np.isnan(how.low)
    rows = [
        ("galaxies rated by both", f"{rated['both']:,}"),
        ("galaxies that this catalogue alone rates", f"{rated[OURS]:,}"),
        ("galaxies that the published catalogue alone rates", f"{rated[THEIRS]:,}"),
        ("published ratings of no row of this catalogue", f"{found.without_a_row:,}"),
        (
            "rank correlation (Spearman)",
            "not defined, as one of both does not vary"
            if np.isnan(how.rank_correlation)
            else f"{how.rank_correlation:.4f}" + (f" ({how.low:.4f} to {how.high:.4f})" if known else ""),
        ),
        ("median difference of the logits", f"{how.shift:+.3f}".replace("-", "−")),
        ("scatter of this difference (68 %)", f"± {how.scatter:.3f}"),
        ("root mean square of the difference of p", f"{how.rms:.4f}"),
    ]
    shown = pd.DataFrame(rows, columns=["quantity", "value"])
    of = (
        ""
        if how.objects == rated["both"]
        else f" The last four are those of {how.objects:,}, drawn at random."
    )
    return Table(
        "published_agreement",
        "How well these ratings agree with the published ones",
        f"Galaxies of the sample are compared by their ids, {beside} with the published p; differences are "
        f"those of these ratings less the published ones.{of}",
        shown,
        numbers=numbers,
    )


def _cuts_table(found: PublishedComparison) -> Table:
    shown = pd.DataFrame(
        [
            {
                "p above": f"{row['p_above']:g}",
                "in both": f"{row['both']:,}",
                "here alone": f"{row['only_ours']:,}",
                "published alone": f"{row['only_published']:,}",
            }
            for row in records(found.cuts)
        ]
    )
    return Table(
        "published_cuts",
        "Mergers that both catalogues have, and those that one has alone",
        "Galaxies that both catalogues have rated are counted.",
        shown,
        numbers=found.cuts,
    )


def _alone_table(found: PublishedComparison, beside: str, cut: float, listed: int) -> Table:
    alone = found.alone
    ra, dec = sexagesimal(alone.ra[:listed], alone.dec[:listed])
    ours = ratings(alone, beside)
    numbers = pd.DataFrame(
        {
            "id": alone.id.astype(str), "ra": alone.ra, "dec": alone.dec, "ours": ours,
            "published": alone.p_published, "in_training_set": alone.in_training_set,
        }
    )  # fmt: skip
    some = numbers.head(listed)
    shown = pd.DataFrame(
        {
            "id": some["id"], "RA": ra, "Dec": dec, "here": some["ours"].map("{:.4f}".format),
            "published": some["published"].map("{:.4f}".format),
            "trained on": np.where(some["in_training_set"], "yes", "no"),
        }
    )  # fmt: skip
    return Table(
        "published_alone",
        f"Galaxies that only one of both catalogues has above {cut:g}",
        f"The {len(some)} with the largest difference, of {len(alone):,}; the CSV file has them all.",
        shown,
        numbers=numbers,
    )
