"""What the page of a sample says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mergerexp.populations.kinds import ALL, CLASSIFIED, CORRECTED, VISUAL
from mergerexp.populations.offers import cite_model, downloads
from mergerexp.populations.results import Sample
from mergerexp.populations.tables import left_out
from mergerexp.report.page.content import (
    FigureBlock,
    Gallery,
    Group,
    Headline,
    Link,
    Report,
    Section,
    Thumb,
)
from mergerexp.report.table import Table
from mergerexp.report.texts import published

TITLES = {
    "fig12_colour_mass": (
        "Colours and masses (Fig. 12 of the paper)",
        "Contours enclose 20, 50, 80 and 95 % of the galaxies above the mass limit at the upper redshift; "
        "small kinds are drawn galaxy by galaxy. The cut in mass removes the blue galaxies of low mass; the "
        "next figure shows them. On the right, colours in bins of mass, without that cut.",
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
        "limits in bins of redshift, open ones those of a second cut, bands their standard errors; points "
        "are some of all galaxies.",
        "Mass against redshift with a line for the limit of each kind of galaxy.",
    ),
    "mass_functions_by_count": (
        "What the mass function of classified mergers depends on",
        "The cut in p_m; whether each object counts, or each system with the mass of its heaviest member; "
        "and the correction for purity and recall, beside a count of all galaxies as their probabilities. "
        "The corrected galaxies are those above the cut by one network's rating, where there is one, since "
        "training objects, which tell the recall, have no other.",
        "Number density of mergers against their mass.",
    ),
    "sky_map": (
        "Where they are",
        "Square degrees with galaxies of the sample, darker with more of them, and mergers, of which no more "
        "than a thousand of a kind are drawn. East is to the left.",
        "Map of the whole sky.",
    ),
    "published_ratings": (
        "Published ratings against these",
        "Galaxies that both catalogues have rated, darker where there are more of them; lines are the cut, "
        "so that mergers that only one has are in the upper left and in the lower right.",
        "Density of galaxies by both ratings.",
    ),
    "merger_fraction": (
        "Fraction of mergers",
        "The density of mergers over that of all galaxies, by 1/V_max.",
        "Fraction of mergers against mass.",
    ),
}
SECTIONS = {
    "sample": ("The sample", ["best_mergers", "table2_extremes", "sample_cuts", "sky_map", "sample_rows"]),
    "published": (
        "Published ratings beside these",
        ["published_ratings", "published_agreement", "published_cuts", "published_alone"],
    ),
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
    "published": "Networks that were trained anew rate each object differently; how much is seen here.",
    "colours": "Colours are {extinction} for Galactic extinction, and {k_correct} for the redshift.",
    "functions": "A galaxy counts where its mass is above the limit at which the sample has all galaxies of "
    "its kind, at its redshift.",
}


def build_page(
    sample: Sample,
    tables: Sequence[Table],
    figures: dict[str, Path],
    thumbs: Sequence[Thumb],
    provenance: dict[str, Any],
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
    thumbs
        Pictures of mergers.
    provenance
        Where data and software came from.

    Raises
    ------
    UserError
        If the model folder's citation can't be read.
    """
    cfg, paper = sample.cfg, published()
    low, high = cfg.catalogue.redshift
    model = cite_model(cfg)
    by = cfg.page.authors or (model and model.authors)
    return Report(
        title=cfg.page.title or f"{cfg.name or cfg.catalogue.name}: mergers among galaxies",
        subtitle=f"{by + '. ' if by else ''}Galaxies with redshifts of {low:g} to {high:g}, in the manner of "
        f"{paper['source']}.",
        abstract=abstract(sample),
        headline=_headline(sample),
        gaps=sample.notes,
        downloads=downloads(cfg),
        sections=sample_sections(sample, tables, figures, thumbs),
        errata=paper["sample_errata"],
        citation=[
            Link(paper["source"], f"https://doi.org/{paper['doi']}", "the method"),
            *(model.links if model else ()),
        ],
        provenance=provenance,
        files="Figures lie in figures/ as PDF, PNG and SVG, tables in tables/ as CSV and Markdown.",
        subject="sample",
    )


def abstract(sample: Sample) -> str:
    """Return what a sample shows in some sentences, from its numbers."""
    cfg = sample.cfg
    said = [f"The sample has {sample.sizes[ALL]:,} of the {sample.gathered.rows:,} rows of the catalogue."]
    if CLASSIFIED in sample.sizes:
        said.append(f"p_m is above {cfg.cut:g} for {sample.sizes[CLASSIFIED]:,} of them.")
        rows = [row for row in sample.counts if row["p_above"] == cfg.cut and row["expected_purity"]]
        if rows and sample.prevalence is not None:
            pure, rare = 100 * rows[0]["expected_purity"], 100 * sample.prevalence
            said.append(
                f"If {rare:.3g} % of all galaxies merge, {pure:.0f} % of those that all networks rated are "
                "expected to be mergers."
            )
    if VISUAL in sample.sizes:
        said.append(f"The number of mergers by eye is {sample.sizes[VISUAL]:,}.")
    for name in (CLASSIFIED, VISUAL, ALL):
        if name in sample.functions:
            function = sample.functions[name]
            knee, error = function.fit.function.log_mass, function.errors[0]
            title = "all galaxies" if name == ALL else f"the {name} mergers"
            said.append(f"The stellar mass function of {title} has log M* = {knee:.2f} ± {error:.2f}.")
    return " ".join(said)


def sample_sections(
    sample: Sample, tables: Sequence[Table], figures: dict[str, Path], thumbs: Sequence[Thumb] = ()
) -> list[Section]:
    """Return the sections of a page on a sample."""
    items: dict[str, Any] = {table.name: table for table in tables}
    items |= {name: FigureBlock(name, *_text(name), image) for name, image in figures.items()}
    if thumbs:
        group = Group("The highest p_m", thumbs)
        items["best_mergers"] = Gallery(
            "best_mergers", "Mergers with the highest p_m", left_out(sample), [group]
        )
    words = {
        key: "corrected" if getattr(sample.cfg, key) else "not corrected"
        for key in ("extinction", "k_correct")
    }
    intro = {name: text.format(**words) for name, text in INTRO.items()}
    if sample.cfg.catalogue.note:
        intro["functions"] += f"\n\n{sample.cfg.catalogue.note}"
    return [
        Section(name, title, intro[name], [items[each] for each in wanted if each in items])
        for name, (title, wanted) in SECTIONS.items()
        if any(each in items for each in wanted)
    ]


def _text(name: str) -> tuple[str, str, str]:
    return TITLES[name]


def _headline(sample: Sample) -> list[Headline]:
    lines = []
    entries = sample.published_functions
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
