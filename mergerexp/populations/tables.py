"""The tables of a sample, with the published numbers beside its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from mergerexp.analysis.mass_function import Schechter
from mergerexp.console import amount
from mergerexp.frames import records, sexagesimal
from mergerexp.populations.functions import MassFunction
from mergerexp.populations.galaxies import Galaxies
from mergerexp.populations.gather import Gathered
from mergerexp.populations.kinds import ALL, cut_name
from mergerexp.populations.published import comparison_tables
from mergerexp.populations.results import Sample
from mergerexp.report.numbers import p_value_text
from mergerexp.report.table import Table
from mergerexp.report.texts import published

PUBLISHED = "published"
DENSITY, RELATIVE = (
    "h³ Mpc⁻³ dex⁻¹",
    "in units of the number of all galaxies above the lowest mass limit, dex⁻¹",
)


def sample_tables(sample: Sample) -> list[Table]:
    """Return the tables of a sample, the most important first."""
    tables = [rows_table(sample.gathered)]
    if sample.top is not None:
        tables.append(table_2(sample))
    if sample.counts:
        tables.append(cuts_table(sample))
    if sample.published is not None:
        cfg = sample.cfg
        tables += comparison_tables(sample.published, cfg.published.beside, cfg.cut, cfg.listed)
    if sample.functions:
        tables += [functions_table(sample), bins_table(sample)]
    if sample.colour_tests:
        tables.append(colours_table(sample))
    return tables


def rows_table(gathered: Gathered) -> Table:
    """Return what became of each row of the catalogue."""
    rows = [
        {"rows": str(fate), "number": count, "for example": ", ".join(gathered.named.get(str(fate), [])[:3])}
        for fate, count in gathered.fates.most_common()
    ]
    rows.append({"rows": "all", "number": gathered.rows, "for example": ""})
    frame = pd.DataFrame(rows)
    said = [
        f"{count:,} of those that are used have no {what}."
        for what, count in gathered.without.items()
        if count
    ]
    if gathered.rated_only:
        said.append(f"{amount(gathered.rated_only, 'rating')} without a row of the catalogue.")
    for name, count in gathered.repeated.items():
        if count:
            whose = "ratings" if name == "rating" else "published ratings"
            said.append(
                f"{count:,} of the {whose} have the id of an earlier one, which counts in their place."
            )
    return Table(
        "sample_rows",
        "What became of the rows of the catalogue",
        " ".join(["Rows that are used and rows that are not sum to all rows.", *said]),
        frame.assign(number=[f"{number:,}" for number in frame["number"]]),
        numbers=frame,
    )


def table_2(sample: Sample) -> Table:
    """Return the galaxies with the highest and the lowest p (Table 2 of the paper)."""
    ends = [each for each in (sample.top, sample.bottom) if each is not None]
    frames = [_listed(each) for each in ends]
    places = [place for each in ends for place in zip(each.ra, each.dec, strict=True)]
    numbers = pd.concat(frames, ignore_index=True)
    places = [place for place, is_first in zip(places, ~numbers["id"].duplicated(), strict=True) if is_first]
    numbers = numbers.drop_duplicates("id", ignore_index=True)  # of very few galaxies
    viewer = None if sample.truth else sample.cfg.page.viewer  # a mock survey is nowhere on the sky
    written = {"p": "{:.6f}", "redshift": "{:.4f}"}
    shown = numbers.assign(**{name: numbers[name].map(text.format) for name, text in written.items()})
    return Table(
        "table2_extremes",
        "Galaxies with the highest and the lowest p_m (Table 2 of the paper)",
        f"{left_out(sample)} Right ascension is in hours, declination in degrees.",
        shown,
        numbers=numbers,
        links=[_view(viewer, *place) for place in places],
    )


def left_out(sample: Sample) -> str:
    """Say whether galaxies that a network was trained on are listed."""
    if sample.gathered.catalogue.columns.in_training_set is None:
        return "Networks may have been trained on some of them: the catalogue does not tell."
    return "Galaxies that a network was trained on are left out."


def _view(viewer: str | None, ra: float, dec: float) -> str | None:
    """Return the address of a place in a viewer of the sky."""
    return viewer and viewer.replace("{ra}", f"{ra:.6f}").replace("{dec}", f"{dec:.6f}")


def _listed(galaxies: Galaxies) -> pd.DataFrame:
    ra, dec = sexagesimal(galaxies.ra, galaxies.dec)
    return pd.DataFrame(
        {"id": galaxies.id.astype(str), "RA": ra, "Dec": dec, "p": galaxies.p, "redshift": galaxies.redshift}
    )


def cuts_table(sample: Sample) -> Table:
    """Return how many galaxies lie above each cut in p."""
    numbers = pd.DataFrame(sample.counts)
    shown = pd.DataFrame(
        [
            {
                "p above": f"{row['p_above']:g}",
                "networks": str(row["networks"]),
                "galaxies": f"{row['n']:,}",
                "95 % interval": f"{row['low']:.0f} to {row['high']:.0f}",
                "expected purity": "" if pd.isna(row["expected_purity"]) else f"{row['expected_purity']:.3f}",
            }
            for row in records(numbers)
        ]
    )
    at = (
        "The expected purity is the mean p_prior above the cut"
        + (f", at a prevalence of {sample.prevalence:.4g}." if sample.prevalence is not None else ".")
        if sample.gathered.catalogue.columns.p_prior
        else "The catalogue has no p_prior, from which a purity could be expected."
    )
    total = published()["catalogue"]
    return Table(
        "sample_cuts",
        "Galaxies above some cuts in p_m",
        f"A mean of several networks and the rating of one are not cut alike by one number. The interval is "
        f"that of a Poisson distribution. {at} The paper has {total['above']} of {total['rated']} above "
        f"{total['threshold']}.",
        shown,
        numbers=numbers,
    )


def functions_table(sample: Sample) -> Table:
    """Return the parameters of the Schechter functions, and the published ones."""
    rows, numbers = [], []
    for found in sample.functions.values():
        rows.append(_function_row(found))
        numbers.append(_function_numbers(found))
    # What is true of a mock survey stands in place of what was found in the sky.
    entries = sample.published_functions
    for name, function in sample.truth.items():
        rows.append(_truth_row(name, function))
    rows += _published_cuts(sample)
    for key, entry in entries.items():
        parts = entry["components"]
        rows.append(
            {
                "population": f"{sample.functions[key].title.split(',')[0]}, {entry['source']}",
                "galaxies": "",
                "log M*": _pair(*parts["log_mass"]),
                "α": "; ".join(_pair(*each) for each in parts["alpha"]),
                "log Φ*": "; ".join(_pair(*each) for each in parts["log_phi"]),
                "jackknife": "", "double": "",
            }
        )  # fmt: skip
    unit = "in h³ Mpc⁻³" if sample.is_absolute else RELATIVE.removesuffix(", dex⁻¹")
    return Table(
        "sample_mass_functions",
        "Schechter functions of stellar mass by maximum likelihood",
        "Galaxies above the mass limit at their redshift; masses hold for H0 = 70 km/s/Mpc, and Φ* is "
        f"{unit}. Errors are from a bootstrap of galaxies, and in the column jackknife from regions of the "
        "sky, which adds the variance of the large-scale structure. Those of the corrected function leave "
        "out what is uncertain about recall and prevalence. The last column is the p-value of a single "
        "function against a double one, by a parametric bootstrap.",
        pd.DataFrame(rows),
        numbers=pd.DataFrame(numbers),
        published=len(entries) + len(sample.truth) + len(_published_cuts(sample)),
    )


def _published_cuts(sample: Sample) -> list[dict[str, Any]]:
    """Return the densities that the paper gives for other cuts, where these are shown."""
    if not sample.is_absolute or sample.truth:
        return []
    found = published()["log_phi_by_cut"]
    return [
        {
            "population": f"p > {cut:g}, {published()['source'].split(',')[0]}",
            **dict.fromkeys(("galaxies", "log M*", "α"), ""),
            "log Φ*": _pair(value, 0.02),
            **dict.fromkeys(("jackknife", "double"), ""),
        }
        for cut, value in found.items()
        if cut_name(float(cut)) in sample.functions
    ]  # fmt: skip


def _truth_row(name: str, function: Schechter) -> dict[str, Any]:
    return {
        "population": "truth, all galaxies but mergers"
        if name == ALL
        else "truth, mergers without companions",
        "galaxies": "",
        "log M*": f"{function.log_mass:.2f}",
        "α": "; ".join(f"{each:.2f}".replace("-", "−") for each in function.alpha),
        "log Φ*": "; ".join(f"{each:.2f}".replace("-", "−") for each in function.log_phi),
        "jackknife": "",
        "double": "",
    }


def _function_row(function: MassFunction) -> dict[str, Any]:
    schechter, size = function.fit.function, len(function.fit.function.alpha)
    errors = function.errors
    row = {
        "population": function.title,
        "galaxies": f"{function.galaxies:,.0f}",
        "log M*": _pair(schechter.log_mass, errors[0]),
        "α": "; ".join(map(_pair, schechter.alpha, errors[1 : 1 + size])),
        "log Φ*": "; ".join(map(_pair, schechter.log_phi, errors[1 + size :])),
    }
    spread = function.jackknife
    row["jackknife"] = "" if spread is None else ", ".join(f"{each:.2f}" for each in spread)
    row["double"] = "" if function.choice is None else p_value_text(function.choice.p_value)
    if function.fit.at_bound:
        row["population"] += f" (not determined: {', '.join(function.fit.at_bound)})"
    return row


def _pair(value: float, error: float) -> str:
    return f"{value:.2f} ± {error:.2f}".replace("-", "−")


def _function_numbers(function: MassFunction) -> dict[str, Any]:
    schechter, size = function.fit.function, len(function.fit.function.alpha)
    row: dict[str, Any] = {"population": function.name, "galaxies": function.galaxies}
    names = [
        "log_mass",
        *(f"alpha_{at + 1}" for at in range(size)),
        *(f"log_phi_{at + 1}" for at in range(size)),
    ]
    values = [schechter.log_mass, *schechter.alpha, *schechter.log_phi]
    jackknife = function.jackknife if function.jackknife is not None else np.full(len(names), np.nan)
    for name, value, error, spread in zip(names, values, function.errors, jackknife, strict=True):
        row |= {name: value, f"{name}_error": error, f"{name}_jackknife": spread}
    if function.choice is not None:
        row |= {"double_ratio": function.choice.ratio, "double_p_value": function.choice.p_value}
    return row


def bins_table(sample: Sample) -> Table:
    """Return the densities in bins of mass."""
    numbers = pd.concat(
        [each.bins.assign(population=each.name) for each in sample.functions.values()], ignore_index=True
    )
    filled = numbers[(numbers["n"] > 0) & numbers["population"].isin([kind.name for kind in sample.kinds])]
    titles = {each.name: each.title for each in sample.functions.values()}
    shown = pd.DataFrame(
        [
            {
                "population": titles[row["population"]],
                "log M": f"{row['log_mass']:.2f}" + ("" if row["whole"] else " (cut by the mass limit)"),
                "galaxies": f"{row['n']:,.0f}",
                "1/V_max": _density(row["vmax"], row["vmax_error"]),
                "SWML": _density(row["swml"], row["swml_error"]),
            }
            for row in records(filled)
        ]
    )
    return Table(
        "sample_mass_bins",
        "Density of galaxies in bins of stellar mass",
        f"In {DENSITY if sample.is_absolute else RELATIVE}, with standard errors.",
        shown,
        numbers=numbers,
    )


def _density(value: float, error: float) -> str:
    if np.isnan(value):  # of SWML
        return "not determined"
    return f"{value:.2e} ± {error:.0e}".replace("e-0", "e−").replace("e-", "e−")


def colours_table(sample: Sample) -> Table:
    """Return the tests of colours in each bin of mass (Fig. 12 of the paper)."""
    numbers = pd.DataFrame(
        [
            {"low": each.low, "high": each.high, "sample": each.sample, "other": each.other}
            | dataclasses.asdict(each.result)
            for each in sample.colour_tests
        ]
    )
    shown = pd.DataFrame(
        [
            {
                "log M": f"{row['low']:g} to {row['high']:g}",
                "mergers": row["sample"],
                "against": row["other"],
                "n": f"{row['n']:,}",
                "n against": f"{row['n_other']:,}",
                "both": f"{row['n_common']:,}",
                "D": "" if pd.isna(row["statistic"]) else f"{row['statistic']:.3f}",
                "KS": p_value_text(row["p_value"]),
                "method": row["method"],
                "without both": p_value_text(row["p_apart"]) if row["n_common"] else "",
                "permutation": "" if pd.isna(row["p_permuted"]) else p_value_text(row["p_permuted"]),
            }
            for row in records(numbers)
        ]
    )
    paper = published()["colours"]
    return Table(
        "sample_colours",
        "Are the colours of mergers those of mergers by eye, and of other galaxies?",
        "D and p-values of two-sided two-sample Kolmogorov-Smirnov tests, as in the paper; others are "
        "galaxies that are no mergers. Galaxies that are in both samples make these dependent, so that the "
        "paper's test is not valid there; the permutation test keeps them in both. The paper compares "
        f"classified mergers with those by eye, and has {paper['p_value']} for masses of {paper['bin'][0]} "
        f"to {paper['bin'][1]}, and nothing significant in others.",
        shown,
        numbers=numbers,
    )
