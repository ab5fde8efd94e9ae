"""What the page of a sample says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergerexp.populations.kinds import ALL, CLASSIFIED, CORRECTED, VISUAL
from mergerexp.populations.measure import Sample
from mergerexp.report.page.content import FigureBlock, Headline, Report, Section
from mergerexp.report.table import Table
from mergerexp.report.texts import published

TITLES = {
    "fig12_colour_mass": (
        "Colours and masses (Fig. 12 of the paper)",
        "Contours enclose 20, 50, 80 and 95 % of the galaxies of each kind above the mass limit at the "
        "upper redshift. The cut in mass removes the blue galaxies of low mass; the next figure shows them. "
        "On the right, colours in bins of mass, without that cut.",
        "Contours of colour against mass, and histograms of colours.",
    ),
    "colour_mass_all_masses": (
        "Colours and masses without the cut in mass",
        "All galaxies of the sample. Those of low mass are seen at the lowest redshifts only, so this "
        "diagram does not show how many there are.",
        "Contours of colour against mass, and histograms of colours.",
    ),
    "fig13_mass_functions": (
        "Stellar mass functions (Fig. 13 of the paper)",
        "Filled symbols are densities by 1/V_max, open ones by SWML, lines Schechter functions by STY with "
        "their 68 % intervals. Bins that the mass limit cuts, or with fewer than five galaxies, are left "
        "out. Dashed lines are published functions, or the truth of a mock survey.",
        "Number density of galaxies against their mass.",
    ),
    "mass_limits": (
        "Mass limits",
        "Galaxies lighter than the limit at their redshift do not count in mass functions. Symbols are the "
        "limits in bins of redshift, bands their standard errors; points are some of all galaxies.",
        "Mass against redshift with a line for the limit of each kind of galaxy.",
    ),
    "mass_functions_by_count": (
        "What the mass function of classified mergers depends on",
        "The cut in p_m; whether each object counts, or each system with the mass of its heaviest member; "
        "and the correction for purity and recall, beside a count of all galaxies as their probabilities.",
        "Number density of mergers against their mass.",
    ),
    "merger_fraction": (
        "Fraction of mergers",
        "The density of mergers over that of all galaxies, by 1/V_max.",
        "Fraction of mergers against mass.",
    ),
}
SECTIONS = {
    "sample": ("The sample", ["sample_rows", "sample_cuts", "table2_extremes"]),
    "colours": (
        "Colours and masses",
        ["fig12_colour_mass", "colour_mass_all_masses", "sample_colours"],
    ),
    "functions": (
        "Stellar mass functions",
        ["fig13_mass_functions", "mass_limits", "sample_mass_functions", "mass_functions_by_count",
         "merger_fraction", "sample_mass_bins"],
    ),
}  # fmt: skip
INTRO = {
    "sample": "Rows of the catalogue that the sample could not use are counted by their reason, so that "
    "none is lost unseen.",
    "colours": "Colours are {extinction} for Galactic extinction, and {k_correct} for the redshift.",
    "functions": "A galaxy counts where its mass is above the limit at which the sample has all galaxies of "
    "its kind, at its redshift.",
}


def build_page(
    sample: Sample, tables: Sequence[Table], figures: dict[str, Path], provenance: dict[str, Any]
) -> Report:
    """Return the page of a sample.

    Parameters
    ----------
    sample
        All numbers of the sample.
    tables
        The tables that were written.
    figures
        The figures that were written, by name.
    provenance
        Where data and software came from.
    """
    cfg = sample.cfg
    low, high = cfg.catalogue.redshift
    used = sample.sizes[ALL]
    return Report(
        title=f"{cfg.name or cfg.catalogue.name}: the mergers of a sample of galaxies",
        subtitle=f"{used:,} galaxies with redshifts of {low:g} to {high:g}, of {sample.gathered.rows:,} rows "
        "of the catalogue",
        headline=_headline(sample),
        gaps=sample.notes,
        sections=sample_sections(sample, tables, figures),
        errata=published()["sample_errata"],
        provenance=provenance,
        files="Figures lie in figures/ as PDF, PNG and SVG, tables in tables/ as CSV and Markdown.",
    )


def sample_sections(sample: Sample, tables: Sequence[Table], figures: dict[str, Path]) -> list[Section]:
    """Return the sections of a page on a sample."""
    items: dict[str, Any] = {table.name: table for table in tables}
    items |= {name: FigureBlock(name, *_text(name), image) for name, image in figures.items()}
    words = {
        key: "corrected" if getattr(sample.cfg, key) else "not corrected"
        for key in ("extinction", "k_correct")
    }
    return [
        Section(name, title, INTRO[name].format(**words), [items[each] for each in wanted if each in items])
        for name, (title, wanted) in SECTIONS.items()
        if any(each in items for each in wanted)
    ]


def _text(name: str) -> tuple[str, str, str]:
    return TITLES[name]


def _headline(sample: Sample) -> list[Headline]:
    lines = []
    entries = published()["mass_functions"] if sample.is_absolute and not sample.truth else {}
    for name in (ALL, VISUAL, CLASSIFIED, CORRECTED):
        if name not in sample.functions:
            continue
        function = sample.functions[name]
        fit, errors = function.fit.function, function.errors
        paper = None
        if name in entries:
            value, error = entries[name]["components"]["log_mass"]
            paper = f"{entries[name]['source']}: {value:.2f} ± {error:.2f}"
        lines.append(
            Headline(
                f"log M* of {function.title}",
                f"{fit.log_mass:.2f} ± {errors[0]:.2f}",
                paper,
                f"{function.galaxies:,.0f} galaxies above the mass limit",
            )
        )
    return lines
