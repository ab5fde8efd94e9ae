"""The tables of a study with the published numbers beside its own, also written as CSV and Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mergerexp.analysis.degradation_curves import doubling_strengths
from mergerexp.analysis.lesion import Comparison
from mergerexp.analysis.significance import ASSUMES, ROPE, shorthand
from mergerexp.files import write_text
from mergerexp.frames import records
from mergerexp.report.numbers import equals, mean_text, p_value_text
from mergerexp.report.page.content import TableBlock
from mergerexp.report.results import StudyResults
from mergerexp.report.texts import published, published_error
from mergerexp.report.training import CAVEAT_SENTENCES, endings

PAPER = "published"
NAMES = {
    "welch": "Welch",
    "paired_t": "paired t",
    "corrected_t": "corrected t",
    "correlated_bayes_t": "Bayesian t",
    "mcnemar": "McNemar",
    "paired_bootstrap": "paired bootstrap",
    "stouffer": "Stouffer",
    "strube": "Strube",
    "mean_over_sizes": "mean over sizes",
}


@dataclass(frozen=True, kw_only=True)
class Table(TableBlock):
    """A table of a study, which is written to files too; its name is theirs.

    Attributes
    ----------
    numbers
        The numbers with all digits, for the CSV file. The texts are for Markdown and the report.
    """

    numbers: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write ``<name>.csv`` and ``<name>.md`` to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{self.name}.csv", self.numbers.to_csv(index=False))
        text = f"# {self.title}\n\n{markdown(self.shown)}\n\n{self.caption}\n"
        write_text(folder / f"{self.name}.md", text)


def markdown(frame: pd.DataFrame) -> str:
    """Return a frame of strings as a Markdown table."""
    rows = [list(map(str, frame.columns)), *frame.astype(str).to_numpy().tolist()]
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]])


def all_tables(results: StudyResults) -> list[Table]:
    """Return the tables of a study, the most important first."""
    tables = [scores_table(results), prevalence_table(results), lesion_errors_table(results)]
    if comparison := results.comparison:
        tables += [tests_table(results, comparison), combined_table(results, comparison)]
        tables.append(assumptions_table(comparison))
    if len(ended := endings(results)):
        tables.append(training_table(results, ended))
    if results.quality:
        tables.append(quality_table(results))
    if (curves := results.robustness) is not None:
        tables += [robustness_table(results.arms, curves), doubling_table(results.arms, curves)]
    return tables


def scores_table(results: StudyResults) -> Table:
    """Return the recall, precision and F1 of every method, and the published ones (Table 1 of the paper)."""
    scores = results.scores[results.scores["at"] == "balanced"]
    rows, most = [], results.learning["folds"].max()
    for arm in results.arms:
        of_arm = records(scores[scores["arm"] == arm])
        row: dict[str, Any] = {
            "method": arm + _of_folds(of_arm[0]["folds"], most),
            "N": f"{of_arm[0]['n_train']:.0f}",
        }
        row |= {score["metric"]: mean_text(score) for score in of_arm}
        pooled = {score["metric"]: _pooled(score) for score in of_arm}
        rows.append(row | {"error, pooled": pooled["error"], "AUROC, pooled": pooled["auroc"]})
    if results.with_published:
        rows += _published_scores()
    many = results.words.many
    columns = ["method", "N", "recall", "precision", "f1", "error", "auroc", "error, pooled", "AUROC, pooled"]
    return Table(
        "table1_scores",
        f"Scores at p_m ≥ 0.5 on the test folds, as many {many} as others (Table 1 of the paper)",
        "Means of the folds' scores ± their standard errors; the last two columns are scores of all test "
        "folds pooled, with 2σ bootstrap intervals, and differ from the means a little, as they should. "
        "N: training images, equally many of each class.",
        pd.DataFrame(rows)[columns].fillna("").rename(columns={"f1": "F1", "auroc": "AUROC"}),
        numbers=scores.drop(columns="at"),
    )


def _published_scores() -> list[dict[str, str]]:
    rows = [
        {
            "method": f"{entry['method']} ({PAPER})",
            **{key: f"{entry[key]:.2f}" for key in ("recall", "precision", "f1")},
        }
        for entry in published()["table1"]
    ]
    paper = next(row for row in rows if row["method"].startswith("Ackermann"))
    paper |= {"N": str(max(published()["lesion"]["sizes"])), "error": published_error("transfer")}
    paper["auroc"] = f"{published()['auroc']}"
    return rows


def prevalence_table(results: StudyResults) -> Table:
    """Return the scores at equal class frequencies, at those of the data set, and at those of a survey."""
    scores = results.scores[results.scores["metric"].isin(("error", "precision", "recall", "f1"))]
    words, rows = results.words, []
    for (arm, at), part in scores.groupby(["arm", "at"], sort=False):
        by = {score["metric"]: score for score in records(part)}
        among = f"{_percent(part['prevalence'].iloc[0])} ({at})"
        row = {"method": arm, f"{words.many} among all": among}
        rows.append(row | {name: mean_text(by[name]) for name in ("error", "precision", "recall", "f1")})
    return Table(
        "scores_by_prevalence",
        f"The same scores where {words.many} are rarer",
        "Means of the folds' scores ± their standard errors. Recall does not depend on how many "
        f"{words.many} there are; precision does, and falls steeply where they are few. An error of a few "
        f"per cent says little there: calling nothing {words.one} does too.",
        pd.DataFrame(rows).rename(columns={"f1": "F1"}),
        numbers=scores,
    )


def lesion_errors_table(results: StudyResults) -> Table:
    """Return the test error of every arm at every size, in the notation of the paper (Fig. 2)."""
    learning, most = results.learning, results.learning["folds"].max()
    rows: list[dict[str, str]] = []
    for _, part in sorted(learning.groupby("subset"), reverse=True):
        errors = {row["arm"]: row["text"] + _of_folds(row["folds"], most) for row in records(part)}
        rows.append({"N": f"{part['n_train'].max():.0f}"} | errors)
    if results.is_published_comparison:
        sizes = published()["lesion"]["sizes"]
        texts = [shorthand(*published()["lesion"]["error"][arm]) for arm in ("transfer", "random")]
        of_paper = dict(zip(results.compared, texts, strict=True))
        rows.append({"N": f"{max(sizes)} ({PAPER})", **of_paper})
    shown = pd.DataFrame(rows, columns=["N", *results.arms]).fillna("")
    return Table(
        "lesion_errors",
        "Test error against the size of the training set (Fig. 2 of the paper)",
        "Mean over the folds, ± its standard error in units of the last digit.",
        shown,
        numbers=learning,
    )


def tests_table(results: StudyResults, comparison: Comparison) -> Table:
    """Return the one-tailed tests at each size of whether the first arm has the smaller error."""
    sizes = comparison.per_size.assign(shown=lambda table: [_p_text(row) for row in records(table)])
    # Rows are kept apart by subset, since two subsets may have the same size where galaxies are few.
    wide = sizes.set_index(["subset", "n_train", "test"])["shown"].unstack()  # noqa: PD010
    names = list(dict.fromkeys(sizes["test"]))
    wide = wide[names].rename(columns=NAMES).sort_index(ascending=False).reset_index()
    shown = wide.drop(columns="subset").rename(columns={"n_train": "N"}).astype({"N": int})
    paper = []
    if results.is_published_comparison:
        lesion = published()["lesion"]
        paper = [
            {"N": f"{size} ({PAPER})", NAMES["welch"]: f"{p:.2f}"}
            for size, p in zip(lesion["sizes"], lesion["p_values"], strict=True)
        ]
    better, worse = comparison.better, comparison.worse
    return Table(
        "lesion_tests",
        f"Has {better} the smaller error than {worse}? One-tailed p-values at each size",
        f"Small where it has. Of the Bayesian t it is the probability that {better}'s error is smaller by "
        f"more than {ROPE:g}: large where it is. The last table of this section says what each test assumes.",
        pd.concat([shown.astype(str), pd.DataFrame(paper)], ignore_index=True).fillna(""),
        numbers=comparison.per_size,
    )


def combined_table(results: StudyResults, comparison: Comparison) -> Table:
    """Return the tests over all sizes together, with the published one beside them."""
    combined = comparison.combined
    shown = pd.DataFrame(
        {
            "test": combined["test"].map(NAMES) + ", " + combined["combination"].map(NAMES),
            "p": combined["p_value"].map(p_value_text),
        }
    )
    of_paper = {"test": f"Welch, Stouffer ({PAPER})", "p": f"{published()['lesion']['combined_p']:.2f}"}
    paper = [of_paper] if results.is_published_comparison else []
    return Table(
        "lesion_combined",
        "All sizes together",
        "The joint bootstrap, the last of ours, resamples galaxies over all sizes at once, so that what "
        "nested subsets share is accounted for: with several seeds it is the one to quote. With one seed it "
        "takes the luck of the training for skill; the corrected t doesn't, but has only the folds to go by.",
        pd.concat([shown, pd.DataFrame(paper)], ignore_index=True),
        numbers=combined,
    )


def assumptions_table(comparison: Comparison) -> Table:
    """Return what each test of the lesion study assumes, in a sentence."""
    combined = comparison.combined
    used = dict.fromkeys([*comparison.per_size["test"], *combined["test"], *combined["combination"]])
    frame = pd.DataFrame(
        {"test": [NAMES[name] for name in used], "assumes": [ASSUMES[name] for name in used]}
    )
    caption = "Of a combined test, both its test's and its combination's."
    return Table("lesion_assumptions", "What each test assumes", caption, frame, numbers=frame)


def training_table(results: StudyResults, ended: pd.DataFrame) -> Table:
    """Return how the network of each arm and size was trained, and how that ended."""
    rows = []
    for arm in results.networks:
        for _, runs in sorted(ended[ended["arm"] == arm].groupby("subset"), reverse=True):
            settings = results.study.settings[runs["run_id"].iloc[0]]
            row = {"method": arm, "N": f"{runs['n_train'].mean():.0f}"}
            rows.append({**row, **_settings_texts(settings), **_ending_texts(runs)})
    return Table(
        "training",
        "How the networks were trained",
        "Fine-tuning ends where as many epochs as patience allows in a row brought no better validation "
        "accuracy, and the best epoch is what is scored. Epochs are of fine-tuning, least to most of the "
        "runs; best epoch 0: none was better than the head stage before it.",
        pd.DataFrame(rows),
        numbers=ended,
    )


def quality_table(results: StudyResults) -> Table:
    """Return how true the probabilities of each network are, before and after recalibration."""
    numbers, words = results.calibration, results.words
    rows = [
        {
            "method": row["arm"],
            "p": row["p"],
            words.many: _percent(row["prevalence"]),
            "ECE": _interval(row, "ece"),
            "ECE if p were true": _or_dash(
                row["ece_null"], f"{row['ece_null']:.4f} (p {equals(row['ece_p'])})"
            ),
            "Brier": _interval(row, "brier"),
            "log-loss": _interval(row, "log_loss"),
            "AUROC": _interval(row, "auroc"),
            "Spiegelhalter z": _or_dash(row["spiegelhalter_z"], f"{row['spiegelhalter_z']:.1f}"),
        }
        for row in records(numbers)
    ]
    first = ["arm", "p", "prevalence"]
    return Table(
        "calibration",
        "Calibration of p_m, before and after recalibration",
        "Calibrators are fitted on a third of each test fold and scored on the rest, pooled. 2σ bootstrap "
        "intervals, which refit the calibrator where its probabilities are scored for the prevalence that "
        "they are meant for. An ECE is positive even for true probabilities, for which its interval allows; "
        "the next column says how large it would be then, and how probable one as large as found; a dash "
        "where that says nothing, because p is meant for another fraction or is the same for all. "
        f"Probabilities hold for equally many {words.many} and others; in a survey they must be shifted to "
        f"its fraction of {words.many}: a calibrated .95 means .28 where they are 2 %.",
        pd.DataFrame(rows),
        numbers=numbers[first + [column for column in numbers if column not in first]],
    )


def robustness_table(arms: list[str], curves: pd.DataFrame) -> Table:
    """Return the error on degraded test images."""
    rows = [
        {"degradation": degradation, "strength": f"{strength:g}", **_of_arms(arms, part, _error_text)}
        for (degradation, strength), part in curves.groupby(["degradation", "strength"], sort=False)
    ]
    return Table(
        "robustness",
        "Test error on degraded images",
        "Mean over the folds, ± its standard error in units of the last digit. The first strength of each "
        "degradation leaves the images as they are.",
        pd.DataFrame(rows).fillna(""),
        numbers=curves,
    )


def _p_text(row: dict[str, Any]) -> str:
    if row["test"] == "correlated_bayes_t":
        return f"P = {row['p_better']:.2f}" if pd.notna(row["p_better"]) else ""
    return p_value_text(row["p_value"])


def doubling_table(arms: list[str], curves: pd.DataFrame) -> Table:
    """Return the strength at which each arm's error has doubled."""
    doubled = doubling_strengths(curves)
    rows = [
        {"degradation": degradation, **_of_arms(arms, part, _doubled)}
        for degradation, part in doubled.groupby("degradation", sort=False)
    ]
    return Table(
        "robustness_doubled",
        "Strength at which the error has doubled",
        "Interpolated between the strengths; in brackets how large the error gets. An error above .25 can't "
        "double before it is that of guessing, and one of 0 can't double at all (–).",
        pd.DataFrame(rows).fillna(""),
        numbers=doubled,
    )


def _of_arms(arms: list[str], part: pd.DataFrame, text: Callable[[dict[str, Any]], str]) -> dict[str, str]:
    """Return the text of each arm's row, in the order of the arms."""
    rows = {row["arm"]: row for row in records(part)}
    return {arm: text(rows[arm]) for arm in arms if arm in rows}


def _error_text(row: dict[str, Any]) -> str:
    return shorthand(row["error"], row["sem"])


def _doubled(row: dict[str, Any]) -> str:
    never = "never" if row["none"] > 0 else "–"
    strength = never if row["doubled"] != row["doubled"] else f"{row['doubled']:.3g}"
    return f"{strength} ({row['none']:.2f} to {row['worst']:.2f})"


def _of_folds(folds: int, most: int) -> str:
    """Return what is added to a number that was computed from fewer folds than others."""
    return f" ({folds} of {most} folds)" if folds < most else ""


def _pooled(row: dict[str, Any]) -> str:
    return f"{row['pooled']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _settings_texts(settings: dict[str, str]) -> dict[str, str]:
    head = settings.get("init.head_epochs")
    rate = float(settings["optimizer.lr"]) * float(settings["init.lr_factor"])
    return {
        "starts from": f"{settings['init.weights']} weights",
        "head stage": f"{head} epochs" if head else "none",
        "rate": f"{rate:.2g}",
        "max_epochs": settings["trainer.max_epochs"],
        "patience": settings["trainer.patience"],
    }


def _ending_texts(runs: pd.DataFrame) -> dict[str, Any]:
    ended_well = ~runs[list(CAVEAT_SENTENCES)].any(axis=1)
    return {
        "epochs": _range(runs["epochs"]),
        "best epoch": _range(runs["best_epoch"] + 1),
        "ended by patience, trained": f"{ended_well.sum()} of {len(runs)}",
        **{name: str(runs[name].sum()) for name in CAVEAT_SENTENCES},
    }


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _or_dash(value: float, text: str) -> str:
    return text if pd.notna(value) else "–"


def _interval(row: dict[Any, Any], name: str) -> str:
    return f"{row[name]:.4f} [{row[f'{name}_low']:.4f}, {row[f'{name}_high']:.4f}]"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"
