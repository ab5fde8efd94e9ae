"""The tables of a study with the published numbers beside its own, also written as CSV and Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mergerexp.analysis.degradation_curves import doubling_strengths
from mergerexp.analysis.significance import ASSUMES, ROPE, shorthand
from mergerexp.files import write_text
from mergerexp.frames import records
from mergerexp.report.numbers import equals, mean_text, p_value_text
from mergerexp.report.results import StudyResults
from mergerexp.report.texts import published, published_error
from mergerexp.report.training import endings, training_table

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


@dataclass(frozen=True)
class Table:
    """A table of a study.

    Attributes
    ----------
    name
        The name of its files.
    title, caption
        What the table is, and what can be seen in it.
    numbers
        The numbers with all digits, for the CSV file.
    shown
        The texts of the cells, for Markdown and the report.
    """

    name: str
    title: str
    caption: str
    numbers: pd.DataFrame
    shown: pd.DataFrame

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
    if results.comparison is not None:
        tables += [tests_table(results), combined_table(results), assumptions_table(results)]
    if len(endings(results)):
        tables.append(Table("training", *training_table(results)))
    if results.quality:
        tables.append(quality_table(results))
    if results.robustness is not None:
        tables += [robustness_table(results), doubling_table(results)]
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
        scores.drop(columns="at"),
        pd.DataFrame(rows)[columns].fillna("").rename(columns={"f1": "F1", "auroc": "AUROC"}),
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
        scores,
        pd.DataFrame(rows).rename(columns={"f1": "F1"}),
    )


def lesion_errors_table(results: StudyResults) -> Table:
    """Return the test error of every arm at every size, in the notation of the paper (Fig. 2)."""
    learning, most = results.learning, results.learning["folds"].max()
    rows: list[dict[str, str]] = []
    for _, part in sorted(learning.groupby("subset"), reverse=True):
        by = {row["arm"]: row for row in records(part)}
        row = {"N": f"{part['n_train'].max():.0f}"}
        row |= {arm: by[arm]["text"] + _of_folds(by[arm]["folds"], most) for arm in results.arms if arm in by}
        rows.append(row)
    if results.compared and results.is_published_comparison:
        sizes = published()["lesion"]["sizes"]
        texts = [shorthand(*published()["lesion"]["error"][arm]) for arm in ("transfer", "random")]
        of_paper = dict(zip(results.compared, texts, strict=True))
        rows.append({"N": f"{max(sizes)} ({PAPER})", **of_paper})
    shown = pd.DataFrame(rows, columns=["N", *results.arms]).fillna("")
    return Table(
        "lesion_errors",
        "Test error against the size of the training set (Fig. 2 of the paper)",
        "Mean over the folds, ± its standard error in units of the last digit.",
        learning,
        shown,
    )


def tests_table(results: StudyResults) -> Table:
    """Return the one-tailed tests at each size of whether the first arm has the smaller error."""
    assert results.comparison is not None and results.compared is not None
    sizes = results.comparison.per_size.assign(shown=lambda table: [_p_text(row) for row in records(table)])
    # Rows are kept apart by subset, since two subsets may have the same size where galaxies are few.
    wide = sizes.set_index(["subset", "n_train", "test"])["shown"].unstack()  # noqa: PD010
    names = list(dict.fromkeys(sizes["test"]))
    wide = wide[names].rename(columns=NAMES).sort_index(ascending=False).reset_index()
    shown = wide.drop(columns="subset").rename(columns={"n_train": "N"}).astype({"N": int})
    lesion = published()["lesion"]
    p_of_size = {}
    if results.is_published_comparison:
        p_of_size = dict(zip(lesion["sizes"], lesion["p_values"], strict=True))
    paper = pd.DataFrame(
        {
            "N": [f"{size} ({PAPER})" for size in p_of_size],
            NAMES["welch"]: [f"{p:.2f}" for p in p_of_size.values()],
        }
    )
    better, worse = results.compared
    return Table(
        "lesion_tests",
        f"Has {better} the smaller error than {worse}? One-tailed p-values at each size",
        f"Small where it has. Of the Bayesian t it is the probability that {better}'s error is smaller by "
        f"more than {ROPE:g}: large where it is. The last table of this section says what each test assumes.",
        results.comparison.per_size,
        pd.concat([shown.astype(str), paper], ignore_index=True).fillna(""),
    )


def combined_table(results: StudyResults) -> Table:
    """Return the tests over all sizes together, with the published one beside them."""
    assert results.comparison is not None
    combined = results.comparison.combined
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
        combined,
        pd.concat([shown, pd.DataFrame(paper)], ignore_index=True),
    )


def assumptions_table(results: StudyResults) -> Table:
    """Return what each test of the lesion study assumes, in a sentence."""
    assert results.comparison is not None
    combined = results.comparison.combined
    used = dict.fromkeys([*results.comparison.per_size["test"], *combined["test"], *combined["combination"]])
    frame = pd.DataFrame(
        {"test": [NAMES[name] for name in used], "assumes": [ASSUMES[name] for name in used]}
    )
    caption = "Of a combined test, both its test's and its combination's."
    return Table("lesion_assumptions", "What each test assumes", caption, frame, frame)


def quality_table(results: StudyResults) -> Table:
    """Return how true the probabilities of each network are, before and after recalibration."""
    numbers, words = results.calibration, results.words
    rows = [
        {
            "method": row["arm"],
            "p": row["p"],
            words.many: _percent(row["prevalence"]),
            "ECE": f"{row['ece']:.4f} [{row['ece_low']:.4f}, {row['ece_high']:.4f}]",
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
        numbers[first + [column for column in numbers if column not in first]],
        pd.DataFrame(rows),
    )


def robustness_table(results: StudyResults) -> Table:
    """Return the error on degraded test images."""
    assert results.robustness is not None
    numbers = results.robustness
    rows = []
    for (degradation, strength), part in numbers.groupby(["degradation", "strength"], sort=False):
        by = part.set_index("arm")
        text = {arm: shorthand(*by.loc[arm, ["error", "sem"]]) for arm in results.arms if arm in by.index}
        rows.append({"degradation": degradation, "strength": f"{strength:g}", **text})
    return Table(
        "robustness",
        "Test error on degraded images",
        "Mean over the folds, ± its standard error in units of the last digit. The first strength of each "
        "degradation leaves the images as they are.",
        numbers,
        pd.DataFrame(rows).fillna(""),
    )


def _p_text(row: dict[str, Any]) -> str:
    if row["test"] == "correlated_bayes_t":
        return f"P = {row['p_better']:.2f}" if pd.notna(row["p_better"]) else ""
    return p_value_text(row["p_value"])


def doubling_table(results: StudyResults) -> Table:
    """Return the strength at which each arm's error has doubled."""
    assert results.robustness is not None
    doubled = doubling_strengths(results.robustness)
    rows = []
    for degradation, part in doubled.groupby("degradation", sort=False):
        by = {row["arm"]: row for row in records(part)}
        text = {arm: _doubled(by[arm]) for arm in results.arms if arm in by}
        rows.append({"degradation": degradation, **text})
    return Table(
        "robustness_doubled",
        "Strength at which the error has doubled",
        "Interpolated between the strengths; in brackets how large the error gets. An error above .25 can't "
        "double before it is that of guessing, and one of 0 can't double at all (–).",
        doubled,
        pd.DataFrame(rows).fillna(""),
    )


def _doubled(row: dict[str, Any]) -> str:
    never = "never" if row["none"] > 0 else "–"
    strength = never if row["doubled"] != row["doubled"] else f"{row['doubled']:.3g}"
    return f"{strength} ({row['none']:.2f} to {row['worst']:.2f})"


def _of_folds(folds: int, most: int) -> str:
    """Return what is added to a number that was computed from fewer folds than others."""
    return f" ({folds} of {most} folds)" if folds < most else ""


def _pooled(row: dict[str, Any]) -> str:
    return f"{row['pooled']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _or_dash(value: float, text: str) -> str:
    return text if pd.notna(value) else "–"


def _interval(row: dict[Any, Any], name: str) -> str:
    return f"{row[name]:.4f} [{row[f'{name}_low']:.4f}, {row[f'{name}_high']:.4f}]"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"
