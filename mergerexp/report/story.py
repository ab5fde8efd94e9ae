"""What the report of a study says, and in which order."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from mergerexp.analysis.fold_errors import fold_errors
from mergerexp.analysis.lesion import Comparison
from mergerexp.frames import records
from mergerexp.report.figures.galleries import OUTCOMES, Picture, draw_lots, most_confident_mistakes
from mergerexp.report.page import (
    Arm,
    Explorer,
    Figure,
    Gallery,
    Headline,
    Item,
    Report,
    Section,
    TableBlock,
    Thumb,
)
from mergerexp.report.published import published, published_error
from mergerexp.report.quality import first_seed
from mergerexp.report.results import Results, largest
from mergerexp.report.tables import Table, p_value

IN_A_TENTH = 4  # images of each class in the threshold explorer
NOT_THERE = "not in the paper"


def tell(
    results: Results,
    tables: list[Table],
    figures: dict[str, Path],
    examples: dict[str, pd.DataFrame],
    provenance: dict[str, Any],
) -> Report:
    """Return the report of a study.

    Parameters
    ----------
    results
        All numbers.
    tables, figures
        As they were written; figures by name.
    examples
        Galaxies to show, by arm.
    provenance
        Where everything came from.
    """
    shown = {table.name: table for table in tables}
    study = results.study
    return Report(
        title=f"{results.settings.title}: {' and '.join(results.compared or results.arms[:2])}",
        subtitle=_subtitle(results),
        headline=_headline(results),
        gaps=[*map(str, study.gaps), *(results.comparison.left_out if results.comparison else ())],
        sections=_sections(results, shown, figures, examples),
        errata=published()["errata"],
        runs=_runs(results),
        provenance=provenance,
        explorer=_explorer(results, examples),
        words=results.words,
    )


def _subtitle(results: Results) -> str:
    study = results.study
    name = study.tags[study.runs["run_id"].iloc[0]]["mergerexp.data.name"]
    galaxies = study.predictions["objid"].nunique()
    return (
        f"{len(study.runs)} runs on {galaxies:,} galaxies of {name}, after {published()['source']}. "
        "Every number here is computed from the stored predictions of the test folds."
    )


def _headline(results: Results) -> list[Headline]:
    scores = results.scores[
        (results.scores["arm"] == results.headline) & (results.scores["at"] == "balanced")
    ]
    by = scores.set_index("metric")
    ours, beside = results.headline, results.is_papers  # else the published numbers are of something else

    def paper(number: str) -> str | None:
        return f"published {number}" if beside else None

    def of(metric: str, digits: int = 3) -> str:
        row = by.loc[metric]
        return f"{row['mean']:.{digits}f}" + (f" ± {row['sem']:.{digits}f}" if row["folds"] > 1 else "")

    size = f"{ours}, N = {by['n_train'].iloc[0]:.0f}"
    first = [
        Headline("test error", of("error"), paper(published_error("transfer")), f"{size}; classes alike"),
        Headline("AUROC", of("auroc"), paper(f"{published()['auroc']}"), size),
        Headline("F1 at p_m ≥ 0.5", of("f1"), paper(f"{published()['table1'][0]['f1']:.2f}"), size),
    ]
    if results.comparison is None or results.compared is None:
        return first
    welch = combined_test(results.comparison, "stouffer", "welch")
    joint = combined_test(results.comparison, "mean_over_sizes", "paired_bootstrap")
    better, worse = results.compared
    if welch is not None:
        what = f"{better} better than {worse}? All sizes, one-tailed"
        of_paper = paper(f"{published()['lesion']['combined_p']:.2f}")
        first.append(Headline("p, by the paper's test", p_value(welch["p_value"]), of_paper, what))
    if joint is not None:
        paired = f"error smaller by {joint['difference']:.3f} [{joint['low']:.3f}, {joint['high']:.3f}]"
        first.append(Headline("p, paired bootstrap", p_value(joint["p_value"]), NOT_THERE, paired))
    return first


def _sections(
    results: Results, tables: dict[str, Table], figures: dict[str, Path], examples: dict[str, pd.DataFrame]
) -> list[Section]:
    words = _words(results, examples)

    def pick(*names: str) -> list[Item]:
        items: list[Item] = []
        for name in names:
            if name in figures:
                items.append(_figure(name, figures[name], words))
            elif name in tables:
                items.append(_block(tables[name]))
        return items

    items: dict[str, list[Item]] = {
        "lesion": pick(
            "fig02_lesion", "lesion_errors", "lesion_tests", "lesion_combined", "lesion_assumptions"
        ),
        "scores": pick("table1_scores", "scores_by_prevalence", "fig07_roc", "precision_recall"),
        "calibration": pick(
            "fig03_histogram",
            "fig04_calibration",
            "fig05_histogram_recalibrated",
            "fig06_calibration_recalibrated",
            "calibration",
        ),
        "galleries": _galleries(results, examples.get(words["pictured"])),
        "robustness": pick("robustness_curves", "robustness_doubled", "robustness"),
    }
    said = _texts()["sections"]
    seeds = results.study.runs["seed"].nunique()
    notes = [*results.notes, *([_texts()["seeds"]] if seeds > 1 else [])]
    filled = {**words, "verdict": "\n\n".join([verdict(results.comparison, seeds), *notes])}
    return [
        Section(name, said[name]["title"], said[name]["intro"].format(**filled), own)
        for name, own in items.items()
        if own
    ]


def verdict(comparison: Comparison | None, seeds: int = 1) -> str:
    """Say in words what the tests say, and which of them can be trusted; seeds: how many were trained."""
    said = _texts()["verdict"]
    if comparison is None:
        return str(said["none"])
    joint = combined_test(comparison, "mean_over_sizes", "paired_bootstrap")
    assert joint is not None  # wherever two arms are compared
    which = "better" if joint["low"] > 0 else "worse" if joint["high"] < 0 else "unclear"
    names = {"better": comparison.better, "worse": comparison.worse}
    least, *limits = (joint[key] for key in ("difference", "low", "high"))
    winner = comparison.better
    if least < 0:
        winner, least, limits = comparison.worse, -least, [-limit for limit in reversed(limits)]
    numbers = {"winner": winner, "difference": least, "low": limits[0], "high": limits[1]}
    sentences = [
        said["joint"].format(
            said=said[which].format(**names), p=_equals(joint["p_value"]), **numbers, **names
        )
    ]
    folds = combined_test(comparison, "mean_over_sizes", "corrected_t")
    if folds is not None and pd.notna(folds["p_value"]):
        p = folds["p_value"]  # at the level of the 95 % interval, which is two-sided
        of_folds = "better" if p < 0.025 else "worse" if p > 0.975 else "unclear"
        agrees = said["agree" if of_folds == which else "disagree"]
        sentences.append(said["folds"].format(p=_equals(p), agrees=agrees))
    if seeds == 1:
        sentences.insert(1, said["one_seed"])
    return f"{' '.join(sentences)}\n\n{said['published']}"


def _equals(p: float) -> str:
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


def combined_test(comparison: Comparison, combination: str, test: str) -> dict[str, Any] | None:
    """Return a row of `Comparison.combined`; None where the study is too small for that test."""
    table = comparison.combined
    rows = records(table[(table["combination"] == combination) & (table["test"] == test)])
    return rows[0] if rows else None


@functools.cache
def _texts() -> dict[str, Any]:
    content: Any = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("texts.yaml")))
    return dict(content)


def _figure(name: str, png: Path, words: dict[str, str]) -> Figure:
    said = _texts()["figures"][name]
    return Figure(name, said["title"], said["caption"].format(**words), said["alt"].format(**words), png)


def _block(table: Table) -> TableBlock:
    return TableBlock(table.name, table.title, table.caption, table.shown)


def _words(results: Results, examples: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Return what is filled into the texts."""
    pictured = next((arm for arm in results.arms if arm in examples), "")
    laws = "; lines are power laws a + b N⁻ᶜ with their 68 % bands" if results.power_laws else ""
    return {
        **results.words._asdict(),
        "survey": f"{100 * results.settings.prevalence:.3g} %",
        "headline": results.headline,
        "rated": results.rated or "",
        "pictured": pictured,
        "laws": laws,
        "seed": _first_seed(results, results.rated),
        "seed_pictured": _first_seed(results, pictured),
    }


def _first_seed(results: Results, arm: str | None) -> str:
    """Say which seed of an arm is looked at, where several were trained."""
    if not arm or len(set(results.study.runs["seed"])) == 1:
        return ""
    seeds = first_seed(largest(results.study.predictions, arm))["seed"].unique()
    return f" and of seed {seeds[0]}" if len(seeds) == 1 else " and of each fold's first seed"


def _galleries(results: Results, own: pd.DataFrame | None) -> list[Item]:
    if own is None:
        return []
    lots = draw_lots(own, results.settings.seed)
    groups = [(title, [_thumb(picture) for picture in lots[name]]) for name, title, _, _ in OUTCOMES]
    worst = [_thumb(picture) for picture in most_confident_mistakes(own)]
    return [
        Gallery(
            "outcomes", "Random draws of each outcome (Figs 8 to 11)", "p_m is below each image.", groups
        ),
        Gallery(
            "mistakes", "The most confident mistakes", "The worst first.", [("Mistakes", worst)], named=True
        ),
    ]


def _thumb(picture: Picture) -> Thumb:
    return Thumb(picture.jpeg, picture.p_m, picture.objid, picture.label)


def _explorer(results: Results, examples: dict[str, pd.DataFrame]) -> Explorer:
    arms = []
    for arm in results.arms:
        test = largest(results.study.predictions, arm)
        test = first_seed(test)
        own = examples.get(arm, pd.DataFrame())
        samples = [
            Thumb(row["jpeg"], row["p_m"], row["objid"], row["label"]) for row in records(_spread(own))
        ]
        arms.append(Arm(arm, test["label"].to_numpy(), test["p_m"].to_numpy(), samples))
    test = largest(results.study.predictions, results.headline)
    first = ", of its first seed" if len(set(results.study.runs["seed"])) > 1 else ""
    note = f"The pooled test folds of each method at its largest training set{first}."
    return Explorer(arms, float(test["label"].mean()), note, results.settings.prevalence)


def _spread(examples: pd.DataFrame) -> pd.DataFrame:
    """Return some galaxies of each class in each tenth of p_m."""
    if examples.empty:
        return examples
    tenth = (examples["p_m"] * 10).astype(int).clip(upper=9)
    return examples.groupby(["label", tenth]).head(IN_A_TENTH)


def _runs(results: Results) -> TableBlock:
    study = results.study
    runs = study.runs
    errors = study.predictions[study.predictions["split"] == "test"]
    frame = pd.DataFrame(
        {
            "run": runs["run_name"],
            "arm": runs["arm"],
            "subset": runs["subset"].map("{:g}".format),
            "N": runs["n_train"].astype(str),
            "fold": runs["fold"].astype(str),
            "seed": runs["seed"].astype(str),
            "test error": _errors_of(runs, errors),
            "epochs": _numbers(runs["epochs"], ".0f"),
            "minutes": _numbers(runs["seconds"].astype(float) / 60, ".1f"),
            "commit": runs["commit"].fillna("").str[:7],
        }
    )
    links = [
        f"{study.uri}/#/experiments/{study.experiment_id}/runs/{run_id}" if study.has_page else None
        for run_id in runs["run_id"]
    ]
    caption = "" if study.has_page else f"In MLflow: mlflow ui --backend-store-uri {study.uri}"
    return TableBlock("runs", "All runs", caption, frame, links)


def _numbers(column: pd.Series, digits: str) -> list[str]:
    """Return numbers as text, nothing where a method has none: a rule has no epochs."""
    return [format(value, digits) if pd.notna(value) else "" for value in column]


def _errors_of(runs: pd.DataFrame, test: pd.DataFrame) -> list[str]:
    errors = fold_errors(test).set_index(["arm", "subset", "seed", "fold"])["error"]
    cells = zip(runs["arm"], runs["subset"], runs["seed"], runs["fold"], strict=True)
    return [f"{errors[cell]:.4f}" for cell in cells]
