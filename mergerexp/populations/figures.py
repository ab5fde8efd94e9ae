"""The figures of a sample: colours, mass limits and mass functions (Figs 12 and 13 of the paper)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from mergerexp.analysis.colour_mass import ENCLOSED, ColourMassGrid, enclosing_levels
from mergerexp.analysis.mass_function import Schechter
from mergerexp.analysis.metrics import Floats
from mergerexp.analysis.sky import COLUMNS, ROWS
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.populations.functions import MassFunction
from mergerexp.populations.galaxies import Galaxies
from mergerexp.populations.kinds import (
    ALL,
    CLASSIFIED,
    CORRECTED,
    OBJECTS,
    SYSTEMS,
    VISUAL,
    WEIGHTED,
    Kind,
    cut_name,
    is_usual,
)
from mergerexp.populations.published import PublishedComparison, ratings
from mergerexp.populations.results import Sample
from mergerexp.report.figures.style import WIDE, figure, plain_logarithms

COLOUR = {ALL: "#777777", VISUAL: "#D55E00", CLASSIFIED: "#0072B2"}
MARK = {ALL: "o", VISUAL: "s", CLASSIFIED: "^"}
FURTHER = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FEW = 1500  # galaxies up to which a population is drawn one by one
SMOOTH = 1.2  # cells, of contours
MASS_LABEL, PHI_LABEL = "log M / M☉", "log Φ / h³ Mpc⁻³ dex⁻¹"
RELATIVE_LABEL = "log Φ / number of all galaxies, dex⁻¹"
COLOUR_LABEL = "u − r"
BIN = 0.1  # magnitudes, of histograms
ON_SKY = 1000  # mergers of a kind on the map
LEAST = 5  # galaxies of a bin that is drawn


def sample_figures(sample: Sample) -> dict[str, Callable[[], Figure]]:
    """Return what draws each figure of a sample, by its name."""
    drawers: dict[str, Callable[[], Figure]] = {}
    if sample.grids and sample.grids[ALL][0].counts.sum():
        if ALL in sample.limits:
            drawers["fig12_colour_mass"] = lambda: draw_colour_mass(sample, with_cut=True)
        drawers["colour_mass_all_masses"] = lambda: draw_colour_mass(sample, with_cut=False)
    if sample.footprint is not None and sample.footprint.any():
        drawers["sky_map"] = lambda: draw_sky(sample)
    if sample.published is not None:
        compared = sample.published
        drawers["published_ratings"] = lambda: draw_published(compared, sample.cfg)
    if sample.functions:
        drawers["fig13_mass_functions"] = lambda: draw_mass_functions(sample)
    if sample.limits:
        drawers["mass_limits"] = lambda: draw_limits(sample)
    if CLASSIFIED in sample.functions:
        drawers["mass_functions_by_count"] = lambda: draw_ways(sample)
        if ALL in sample.functions:
            drawers["merger_fraction"] = lambda: draw_fraction(sample)
    return drawers


def draw_colour_mass(sample: Sample, with_cut: bool) -> Figure:
    """Draw the colour-mass diagram, and the colours in bins of mass.

    Parameters
    ----------
    sample
        The sample.
    with_cut
        Whether only galaxies above the mass limit at the upper redshift are shown, as in the paper.
    """
    bins = list(itertools.pairwise(sample.cfg.mass_bins))
    layout: dict[str, Any] = {"nrows": len(bins), "ncols": 2, "gridspec_kw": {"width_ratios": [1.4, 1]}}
    with figure(WIDE, 5.2, squeeze=False, **layout) as (made, grid):
        panel = made.add_subplot(grid[0, 0].get_gridspec()[:, 0])
        for axes in grid[:, 0]:
            axes.remove()
        chosen = {kind.name: sample.grids[kind.name][with_cut] for kind in sample.kinds}
        limit = sample.limits[ALL].limit.log_mass[-1] if ALL in sample.limits else -np.inf
        for kind in sample.kinds:
            some = sample.shown.get(kind.name)
            if some is not None and with_cut:
                some = some.take(some.log_mass >= limit)
            _draw_population(panel, chosen[kind.name], kind, some)
        if np.isfinite(limit):
            panel.axvline(limit, color="#333333", linewidth=1, linestyle="--")
            panel.text(
                limit, 0.88, " mass limit at the upper redshift", fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
            )  # fmt: skip
        panel.set(xlabel=MASS_LABEL, ylabel=COLOUR_LABEL, xlim=_mass_range(chosen[ALL]), ylim=(0.8, 3.6))
        panel.legend(loc="upper left", frameon=True, edgecolor="none", framealpha=0.9)
        for axes, (low, high) in zip(grid[:, 1], bins, strict=True):
            for kind in sample.kinds:
                _draw_histogram(axes, sample.grids[kind.name][0], kind.name, low, high)
            axes.set_title(f"{low:g} < log M ≤ {high:g}", fontsize=9)
            axes.set(xlim=(0.8, 3.6), ylabel="fraction")
            axes.tick_params(labelbottom=axes is grid[-1, 1], labelsize=8)
        grid[-1, 1].set_xlabel(COLOUR_LABEL)
        return made


def _mass_range(grid: ColourMassGrid) -> tuple[float, float]:
    filled = np.flatnonzero(np.cumsum(grid.counts.sum(axis=1)) > 0.001 * grid.counts.sum())
    lowest = grid.masses[filled[0]] if len(filled) else 8.0
    return float(lowest), 12.2


def _draw_population(axes: Axes, grid: ColourMassGrid, kind: Kind, some: Galaxies | None) -> None:
    """Draw contours, or few galaxies one by one."""
    total, colour = grid.counts.sum(), COLOUR[kind.name]
    if not total or some is None:
        return
    label = f"{kind.title} ({total:,.0f})"
    some = some.take(np.isfinite(some.colour))
    if total > FEW or len(some) < total:  # not all of them are at hand
        mass, hue = (grid.masses[1:] + grid.masses[:-1]) / 2, (grid.colours[1:] + grid.colours[:-1]) / 2
        density = grid.density(SMOOTH if kind.name == ALL else 2 * SMOOTH)
        levels = np.unique(enclosing_levels(density, ENCLOSED))
        axes.contour(mass, hue, density.T, levels=levels, colors=colour, linewidths=1.2)
        axes.plot([], [], color=colour, label=label)
    else:
        look: dict[str, Any] = {"color": colour, "markersize": 3, "alpha": 0.7, "linestyle": ""}
        axes.plot(some.log_mass, some.colour, marker=MARK[kind.name], label=label, **look)


def _draw_histogram(axes: Axes, grid: ColourMassGrid, name: str, low: float, high: float) -> None:
    centre = (grid.masses[1:] + grid.masses[:-1]) / 2
    counts = grid.counts[(centre > low) & (centre < high)].sum(axis=0)
    step = round(BIN / (grid.colours[1] - grid.colours[0]))
    wide = counts[: len(counts) // step * step].reshape(-1, step).sum(axis=1)
    if wide.sum():
        axes.stairs(wide / wide.sum(), grid.colours[::step], color=COLOUR[name], linewidth=1.4)


def draw_mass_functions(sample: Sample) -> Figure:
    """Draw the mass functions of the populations, with the published ones."""
    names = [kind.name for kind in sample.kinds if kind.name in sample.functions]
    with figure(6.2, 5.2) as (made, axes):
        for name in names:
            _draw_function(axes, sample.functions[name], COLOUR[name], MARK[name])
        if sample.truth:
            for name, function in sample.truth.items():
                _draw_known(axes, name, function, f"truth, {'all' if name == ALL else 'mergers'}")
        for name, entry in sample.published_functions.items():
            _draw_known(axes, name, *_published(entry))
        _finish(axes, sample, [sample.functions[name] for name in names])
        axes.legend(fontsize=8)
        return made


def _draw_function(axes: Axes, function: MassFunction, colour: str, mark: str, label: str = "") -> None:
    """Draw densities by 1/V_max (filled) and SWML (open), and the Schechter function with its interval."""
    rows = function.bins[(function.bins["n"] >= LEAST) & function.bins["whole"]]
    for method, shift, face in (("vmax", -0.015, colour), ("swml", 0.015, "white")):
        phi, error = rows[method].to_numpy(), rows[f"{method}_error"].to_numpy()
        below = np.minimum(error, 0.99 * phi)
        bars = [-np.log10(1 - below / phi), np.log10(1 + error / phi)]
        axes.errorbar(
            rows["log_mass"] + shift, np.log10(phi), yerr=bars,
            color=colour, marker=mark, markersize=4.5, markerfacecolor=face, linestyle="", linewidth=1,
        )  # fmt: skip
    curve = function.curve[function.curve["phi"] > 0]
    axes.plot(curve["log_mass"], np.log10(curve["phi"]), color=colour, label=label or function.title)
    axes.fill_between(
        curve["log_mass"], np.log10(np.maximum(curve["low"], 1e-30)), np.log10(curve["high"]),
        color=colour, alpha=0.18, linewidth=0,
    )  # fmt: skip


def _published(entry: dict[str, Any]) -> tuple[Schechter, str]:
    """Return a published mass function, and its source."""
    parts = entry["components"]
    alpha, log_phi = (tuple(each[0] for each in parts[key]) for key in ("alpha", "log_phi"))
    return Schechter(parts["log_mass"][0], alpha, log_phi), entry["source"]


def _draw_known(axes: Axes, name: str, function: Schechter, label: str) -> None:
    mass = np.arange(8.5, 12.2, 0.02)
    axes.plot(mass, np.log10(function.density(mass)), "--", color=COLOUR[name], linewidth=1, label=label)


def _finish(axes: Axes, sample: Sample, functions: list[MassFunction]) -> None:
    filled = [each.bins[(each.bins["n"] >= LEAST) & each.bins["whole"]] for each in functions]
    lows = [np.log10(each["vmax"].min()) for each in filled if len(each)]
    highs = [np.log10(each["vmax"].max()) for each in filled if len(each)]
    if lows:
        axes.set_ylim(min(lows) - 0.7, max(highs) + 0.6)
    axes.set(xlabel=MASS_LABEL, ylabel=PHI_LABEL if sample.is_absolute else RELATIVE_LABEL)
    axes.set_xlim(min(float(each.limit.limit.log_mass[0]) for each in functions) - 0.2, 12.3)


def draw_limits(sample: Sample) -> Figure:
    """Draw the mass limit of each population against redshift, with some galaxies."""
    some = sample.shown[ALL]
    with figure(6.2, 4.6) as (made, axes):
        axes.plot(some.redshift, some.log_mass, ".", color="#bbbbbb", markersize=2)
        for kind in sample.kinds:
            if kind.name in sample.limits:
                fit = sample.limits[kind.name]
                z, m, colour = fit.limit.redshift, fit.limit.log_mass, COLOUR[kind.name]
                axes.plot(z, m, color=colour, label=kind.title)
                axes.fill_between(z, m - fit.error, m + fit.error, color=colour, alpha=0.2, linewidth=0)
                for cut, bins in fit.bins.groupby("cut"):  # the second one has open symbols
                    axes.plot(
                        bins["z"], bins["log_mass"], MARK[kind.name], color=colour, markersize=4,
                        markerfacecolor="white" if cut else colour, markeredgewidth=0.8,
                    )  # fmt: skip
        axes.set(xlabel="redshift", ylabel=MASS_LABEL)
        axes.legend(loc="lower right")
        return made


def draw_ways(sample: Sample) -> Figure:
    """Draw the mass functions of classified mergers as they depend on the cut and on what counts as one."""
    by_cut = [cut_name(cut) for cut in sample.cfg.cuts if cut != sample.cfg.cut]
    each = CLASSIFIED if is_usual(sample.cfg) else OBJECTS  # as the others are counted
    panels = {
        "cut in p_m": [each, *by_cut],
        "objects and systems": [OBJECTS, SYSTEMS],
        "purity and recall": [each, CORRECTED, WEIGHTED],
    }
    shown = {
        title: [sample.functions[name] for name in names if name in sample.functions]
        for title, names in panels.items()
    }
    shown = {title: functions for title, functions in shown.items() if len(functions) > 1}
    with figure(WIDE, 4.2, ncols=max(1, len(shown)), squeeze=False, sharey=True) as (made, grid):
        for axes, (title, functions) in zip(grid[0], shown.items(), strict=False):
            for function, colour in zip(functions, (COLOUR[CLASSIFIED], *FURTHER), strict=False):
                _draw_function(axes, function, colour, "o")
            _finish(axes, sample, functions)
            axes.set_title(title)
            axes.legend(fontsize=7.5, loc="lower left")
            axes.label_outer()
        return made


def draw_fraction(sample: Sample) -> Figure:
    """Draw the fraction of mergers among all galaxies against mass, as it is and corrected."""
    everything = sample.functions[ALL].bins.set_index("log_mass")
    with figure(6.2, 4.4) as (made, axes):
        names = [name for name in (VISUAL, CLASSIFIED, CORRECTED, WEIGHTED) if name in sample.functions]
        for name, colour in zip(names, (COLOUR[VISUAL], COLOUR[CLASSIFIED], *FURTHER), strict=False):
            bins = sample.functions[name].bins.set_index("log_mass")
            rows = bins[(bins["n"] >= LEAST) & bins["whole"]].join(
                everything[(everything["n"] >= LEAST) & everything["whole"]].add_prefix("all_"), how="inner"
            )
            fraction = rows["vmax"] / rows["all_vmax"]
            relative = np.hypot(rows["vmax_error"] / rows["vmax"], rows["all_vmax_error"] / rows["all_vmax"])
            axes.errorbar(
                rows.index, fraction, yerr=fraction * relative, marker="o", markersize=4, color=colour,
                label=sample.functions[name].title,
            )  # fmt: skip
        axes.set(xlabel=MASS_LABEL, ylabel="fraction of all galaxies", yscale="log")
        plain_logarithms(axes)
        axes.legend(fontsize=8)
        return made


def draw_published(found: PublishedComparison, cfg: SampleConfig) -> Figure:
    """Draw published ratings against those of the sample."""
    with figure(4.6, 4.4) as (made, axes):
        ours = ratings(found.drawn, cfg.published.beside)
        drawn = axes.hexbin(
            ours, found.drawn.p_published, gridsize=40, extent=(0, 1, 0, 1), norm=LogNorm(vmin=0.3), mincnt=1,
            cmap="Greys", linewidths=0.1,
        )  # fmt: skip
        for line in (axes.axvline, axes.axhline):
            line(cfg.cut, color=COLOUR[VISUAL], linewidth=0.9)
        axes.set_xlabel(f"{cfg.published.beside.replace('_', ' ')}, these ratings")
        axes.set_ylabel("p, published")
        axes.set_aspect("equal")
        made.colorbar(drawn, ax=axes, label="galaxies", shrink=0.8)
        return made


def draw_sky(sample: Sample) -> Figure:
    """Draw where on the sky the galaxies and the mergers are, with east to the left."""
    assert sample.footprint is not None
    row, column = np.divmod(np.arange(ROWS * COLUMNS), COLUMNS)
    with figure(6.2, 3.6, subplot_kw={"projection": "mollweide"}) as (made, axes):
        filled = np.flatnonzero(sample.footprint)
        height = np.arcsin((row[filled] + 0.5) / ROWS * 2 - 1)
        axes.scatter(
            _eastward((column[filled] + 0.5) / COLUMNS * 360), height, c=np.log10(sample.footprint[filled]),
            s=3, marker="s", cmap="Greys", vmin=-0.7, linewidths=0, rasterized=True,
        )  # fmt: skip
        for name in (VISUAL, CLASSIFIED):
            if (some := sample.shown.get(name)) is not None:
                number = min(len(some), ON_SKY)
                place = _eastward(some.ra[:number]), np.radians(some.dec[:number])
                titles = {kind.name: kind.title for kind in sample.kinds}
                of = "" if number == sample.sizes[name] else f" of {sample.sizes[name]:,}"
                axes.plot(
                    *place, MARK[name], color=COLOUR[name], markersize=1.2, alpha=0.5, markeredgewidth=0,
                    label=f"{number:,}{of} {titles[name]}",
                )  # fmt: skip
        axes.set_xticks(np.radians([-120, -60, 0, 60, 120]), ["20h", "16h", "12h", "8h", "4h"], fontsize=8)
        axes.set_axisbelow(False)  # hours are written at the equator
        for label in axes.get_xticklabels():
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6})
        axes.tick_params(axis="y", labelsize=8)
        if axes.get_legend_handles_labels()[1]:
            made.legend(loc="outside lower center", ncols=2, fontsize=8, markerscale=4)
        return made


def _eastward(ra: Floats) -> Floats:
    """Return right ascensions as the map's longitudes: 12 hours in the middle, east to the left."""
    return np.asarray(np.radians(180 - np.mod(ra, 360)))
