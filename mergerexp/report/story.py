"""What the report of a study says, and in which order."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from mergerexp.analysis.fold_errors import fold_errors
from mergerexp.frames import records
from mergerexp.report.galleries import OUTCOMES, galleries, thumbs
from mergerexp.report.numbers import LEVEL, mean_text, p_value_text
from mergerexp.report.page.content import (
    Arm,
    Explorer,
    FigureBlock,
    Gallery,
    Headline,
    Item,
    Report,
    Section,
    TableBlock,
)
from mergerexp.report.quality import BALANCED
from mergerexp.report.results import StudyResults
from mergerexp.report.sample_sections import read_sections
from mergerexp.report.table import Table
from mergerexp.report.texts import published, published_error, texts
from mergerexp.report.training import cautions, caveats_of
from mergerexp.report.verdict import combined_test, details, evidence, judgements, verdict
from mergerexp.tracking.experiment import page_of_run
from mergerexp.tracking.store_file import StoreFile

PER_BIN = 4  # images of each class in each tenth of p_m, in the threshold explorer
NOT_IN_PAPER = "not in the paper"
EQUALLY = "both classes weighted equally"
# The figures, tables and galleries of each section in their order; those that a study lacks are left out.
ITEMS = {
    "lesion": ["fig02_lesion", "lesion_errors", "lesion_tests", "lesion_combined", "lesion_assumptions"],
    "training": ["training_curves", "training"],
    "scores": ["table1_scores", "scores_by_prevalence", "fig07_roc", "precision_recall"],
    "calibration": [
        "fig03_histogram",
        "fig04_calibration",
        "fig05_histogram_recalibrated",
        "fig06_calibration_recalibrated",
        "calibration",
    ],
    "galleries": ["outcomes", "mistakes"],
    "robustness": ["robustness_curves", "robustness_doubled", "robustness"],
}
TILES = {"paired_bootstrap": "paired bootstrap over galaxies", "corrected_t": "corrected t over folds"}


def build_report(
    results: StudyResults, tables: list[Table], figures: dict[str, Path], provenance: dict[str, Any]
) -> Report:
    """Return the report of a study.

    Parameters
    ----------
    results
        All numbers of the study.
    tables
        The tables that were written.
    figures
        The figures that were written, by name.
    provenance
        Where runs, data and software came from.
    """
    study = results.study
    return Report(
        title=f"{results.settings.title}: {' and '.join(results.arms[:2])}",
        subtitle=_subtitle(results),
        verdict=[verdict(results.comparison, len(results.arms) == 1), *cautions(results)],
        evidence=evidence(results.comparison, results.learning),
        headline=_headline(results),
        gaps=[*map(str, study.gaps), *(results.comparison.left_out if results.comparison else ())],
        sections=[*_sections(results, tables, figures), *_of_sample(results.settings.sample)],
        errata=published()["errata"] if results.with_published else [],
        runs=_runs(results),
        provenance=provenance,
        explorer=_explorer(results),
        words=results.words,
        notation=_notation(results),
        files=texts()["files"],
    )


def _of_sample(folder: Path | None) -> list[Section]:
    return [] if folder is None else read_sections(folder)


def _notation(results: StudyResults) -> str:
    names = ["notation", *(["notation_published"] if results.with_published else [])]
    return " ".join(texts()[name] for name in names).format(source=published()["source"])


def _subtitle(results: StudyResults) -> str:
    study = results.study
    data = study.tags[study.runs["run_id"].iloc[0]]
    name, galaxies = data["mergerexp.data.name"], int(data["mergerexp.data.objects"])
    tested = study.predictions.loc[study.predictions["split"] == "test", "objid"].nunique()
    held = "all" if tested == galaxies else f"{tested:,}"
    return (
        f"{len(study.runs)} runs on the {galaxies:,} galaxies of {name}, in the manner of "
        f"{published()['source']}. Every number is computed from the stored predictions of the test folds, "
        f"which hold {held} of these galaxies."
    )


def _headline(results: StudyResults) -> list[Headline]:
    scores = results.scores[
        (results.scores["arm"] == results.headline) & (results.scores["at"] == "balanced")
    ]
    by = {row["metric"]: row for row in records(scores)}
    folds = by["error"]["folds"]
    mean = f"mean of {folds} folds" if folds > 1 else "one fold"
    size = f"{results.headline}, N = {by['error']['n_train']:.0f}; {mean}"
    paper = published()
    error, f1 = published_error("transfer"), f"{paper['table1'][0]['f1']:.2f}"
    lines = [
        Headline("test error", mean_text(by["error"]), f"published {error}", f"{size}, {EQUALLY}"),
        Headline("AUROC", mean_text(by["auroc"]), f"published {paper['auroc']}", size),
        Headline("F1 at p_m ≥ 0.5", mean_text(by["f1"]), f"published {f1}", size),
    ]
    if comparison := results.comparison:
        level = f"one-tailed; below {LEVEL:g}, {comparison.better} has the smaller error"
        lines += [
            Headline(f"p, {TILES[judgement.test]}", p_value_text(judgement.p), NOT_IN_PAPER, level)
            for judgement in judgements(comparison)
        ]
    if not results.is_published_comparison:  # The published numbers are about something else.
        return [replace(line, published=None) for line in lines]
    if comparison and (welch := combined_test(comparison, "stouffer", "welch")):
        p, p_of_paper = p_value_text(welch["p_value"]), f"published {paper['lesion']['combined_p']:.2f}"
        note = "finds differences too often, as the next section says"
        lines.append(Headline("p, by the paper's test", p, p_of_paper, note))
    return lines


def _sections(results: StudyResults, tables: list[Table], figures: dict[str, Path]) -> list[Section]:
    words = _words(results)
    items: dict[str, Item] = {table.name: table for table in tables}
    items |= {gallery.name: gallery for gallery in _galleries(results)}
    for name, text in texts()["figures"].items():
        if name in figures:
            caption, alt = text["caption"].format(**words), text["alt"].format(**words)
            items[name] = FigureBlock(name, text["title"], caption, alt, figures[name])
    words["details"] = "\n\n".join(_paragraphs(results))
    words["cautions"] = " ".join(cautions(results)) or "Here every run did so."
    sections = []
    for name, text in texts()["sections"].items():
        if shown := [items[item] for item in ITEMS[name] if item in items]:
            title, intro = text["title"].format(**words), text["intro"].format(**words)
            sections.append(Section(name, title, intro, shown))
    return sections


def _paragraphs(results: StudyResults) -> list[str]:
    """Return the paragraphs behind the verdict: its details, and notes on the whole study."""
    several_seeds = results.study.has_several_seeds
    paragraphs = [details(results.comparison, several_seeds), *results.notes]
    if several_seeds:
        paragraphs.append(texts()["seeds"])
    if results.with_published and not results.is_published_sample:
        paragraphs.append(texts()["other_sample"])
    return [paragraph for paragraph in paragraphs if paragraph]


def _words(results: StudyResults) -> dict[str, str]:
    """Return what is filled into the texts."""
    many, survey = results.words.many, f"{100 * results.settings.prevalence:.3g} %"
    shifts, is_alone = results.settings.prevalence != BALANCED, len(results.arms) == 1
    question = "alone" if is_alone else "several" if results.has_several_sizes else "one"
    said = {
        "beside": not is_alone,
        "laws": bool(results.power_laws),
        "savings": not is_alone and results.has_several_sizes,
    }
    return {
        **results.words._asdict(),
        "survey": survey,
        "headline": results.headline,
        "rated": results.rated or "",
        "pictured": results.pictured or "",
        "question": texts()["questions"][question],
        **{name: f" {texts()[name]}" if is_true else "" for name, is_true in said.items()},
        "dotted": f", and dotted lines a survey in which {survey} of the galaxies are {many}"
        if shifts
        else "",
        "hollow": ", which is hollow for the survey" if shifts else "",
        "stars": " The stars are the published errors." if results.with_published else "",
        "seed": _seed_text(results, results.rated),
        "seed_pictured": _seed_text(results, results.pictured),
    }


def _seed_text(results: StudyResults, arm: str | None) -> str:
    """Say which seed of an arm is shown, where several were trained."""
    if not arm or not results.study.has_several_seeds:
        return ""
    seeds = results.study.pooled[arm].first_seed["seed"].unique()
    return f" and of seed {seeds[0]}" if len(seeds) == 1 else " and of each fold's first seed"


def _galleries(results: StudyResults) -> list[Gallery]:
    pictures = galleries(results)
    if not pictures:
        return []
    groups = {
        "outcomes": [pictures[name] for name, *_ in OUTCOMES],
        "mistakes": [pictures["most_confident_mistakes"]],
    }
    has_files = any(thumb.file for group in pictures.values() for thumb in group.thumbs)
    words = {**results.words._asdict(), "named": "the name of its file" if has_files else "its objid"}
    return [
        Gallery(name, text["title"], text["caption"].format(**words), groups[name], named=name == "mistakes")
        for name, text in texts()["galleries"].items()
    ]


def _explorer(results: StudyResults) -> Explorer:
    arms = []
    for arm in results.arms:
        test = results.study.pooled[arm].first_seed
        samples = thumbs(_spread(results.examples[arm])) if arm in results.examples else []
        arms.append(Arm(arm, test["label"].to_numpy(), test["p_m"].to_numpy(), samples))
    prevalence = float(results.study.pooled[results.headline].all_seeds["label"].mean())
    first = ", of its first seed" if results.study.has_several_seeds else ""
    note = f"Each method is shown with its largest training set{first}, on the pooled test folds."
    return Explorer(arms, prevalence, note, results.settings.prevalence)


def _spread(examples: pd.DataFrame) -> pd.DataFrame:
    """Return some galaxies of each class in each tenth of p_m."""
    tenth = (examples["p_m"] * 10).astype(int).clip(upper=9)
    return examples.groupby(["label", tenth]).head(PER_BIN)


def _runs(results: StudyResults) -> TableBlock:
    study = results.study
    runs = study.runs
    cell = ["arm", "subset", "seed", "fold"]
    errors = fold_errors(study.predictions[study.predictions["split"] == "test"]).set_index(cell)
    frame = pd.DataFrame(
        {
            "run": runs["run_name"],
            "method": runs["arm"],
            "subset": runs["subset"].map("{:g}".format),
            "N": runs["n_train"].astype(str),
            "fold": runs["fold"].astype(str),
            "seed": runs["seed"].astype(str),
            "test error": runs.join(errors["error"], on=cell)["error"].map("{:.4f}".format),
            "epochs": _numbers(runs["epochs"], ".0f"),
            "note": [", ".join(caveats_of(study, run_id)) for run_id in runs["run_id"]],
            "minutes": _numbers(runs["seconds"].astype(float) / 60, ".1f"),
            "commit": runs["commit"].fillna("").str[:7],
        }
    )
    links = [
        page_of_run(study.uri, study.experiment_id, run_id) if study.has_page else None
        for run_id in runs["run_id"]
    ]
    caption = (
        "Each run is a row, with the error on its own test fold. The last word of a run's name also ends the "
        "name of its folder."
    )
    if (file := StoreFile.of(study.uri)) is not None:
        caption += f" To see the runs in MLflow: mlflow ui --backend-store-uri {shlex.quote(file.address)}"
    return TableBlock("runs", "All runs", caption, frame, links)


def _numbers(column: pd.Series, digits: str) -> list[str]:
    """Return numbers as text, which is empty where a method has no such number: a rule has no epochs."""
    return [format(value, digits) if pd.notna(value) else "" for value in column]
