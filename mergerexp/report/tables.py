"""The tables of a study with the published numbers beside its own, also written as CSV and Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from mergerexp.analysis.degradation_curves import doubling_strengths
from mergerexp.analysis.lesion import Comparison
from mergerexp.analysis.significance import ASSUMES, ROPE, shorthand
from mergerexp.frames import records
from mergerexp.report.numbers import equals, mean_text, p_value_text
from mergerexp.report.results import StudyResults
from mergerexp.report.table import Table
from mergerexp.report.texts import published, published_error, texts
from mergerexp.report.training import CAVEAT_SENTENCES, endings

PAPER = "published"
SEM = "the digit in brackets is the standard error of the last digit"
N_IS = "N is the number of training images, equally many of each class."
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


def all_tables(results: StudyResults) -> list[Table]:
    """Return the tables of a study, the most important first."""
    tables = [scores_table(results), prevalence_table(results), lesion_errors_table(results)]
    if comparison := results.comparison:
        tables.append(tests_table(results, comparison))
        if comparison.sizes > 1:
            tables.append(combined_table(results, comparison))
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
        f"Means over the folds; {SEM}. The last two columns are computed from all test folds pooled, with 2σ "
        f"bootstrap intervals in square brackets, so they differ a little from the means. {N_IS}",
        pd.DataFrame(rows)[columns].fillna("").rename(columns={"f1": "F1", "auroc": "AUROC"}),
        numbers=scores.drop(columns="at"),
        published=len(published()["table1"]) if results.with_published else 0,
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
    words = results.words
    names: dict[tuple[str, ...], list[str]] = {}  # of rows that are alike but for what their fraction is
    for (arm, at), part in scores.groupby(["arm", "at"], sort=False):
        by = {score["metric"]: mean_text(score) for score in records(part)}
        cells = (by[name] for name in ("error", "precision", "recall", "f1"))
        names.setdefault((str(arm), _percent(part["prevalence"].iloc[0]), *cells), []).append(str(at))
    columns = ["method", f"{words.many} among all", "error", "precision", "recall", "F1"]
    rows = [(arm, f"{share} ({', '.join(at)})", *cells) for (arm, share, *cells), at in names.items()]
    shared = any(len(at) > 1 for at in names.values())
    alike = " Where two fractions and all scores are the same, they share a row." if shared else ""
    return Table(
        "scores_by_prevalence",
        f"Scores at p_m ≥ 0.5 at several fractions of {words.many}",
        f"Means over the folds; {SEM}. Recall does not depend on how many {words.many} there are. Precision "
        "does: it falls steeply where they are few. An error of a few per cent means little there: who "
        f"calls no galaxy {words.one} reaches it as well.{alike}",
        pd.DataFrame(rows, columns=columns),
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
        of_both = [shorthand(*published()["lesion"]["error"][arm]) for arm in ("transfer", "random")]
        of_paper = dict(zip(results.compared, of_both, strict=True))
        rows.append({"N": f"{max(sizes)} ({PAPER})", **of_paper})
    shown = pd.DataFrame(rows, columns=["N", *results.arms]).fillna("")
    return Table(
        "lesion_errors",
        "Test error against the size of the training set (Fig. 2 of the paper)",
        f"Mean over the folds; {SEM}. {N_IS}",
        shown,
        numbers=learning,
        published=int(results.is_published_comparison),
    )


def tests_table(results: StudyResults, comparison: Comparison) -> Table:
    """Return the one-tailed tests at each size of whether the first arm has the smaller error."""
    sizes = comparison.per_size.assign(shown=lambda table: [_p_text(row) for row in records(table)])
    # Rows are kept apart by subset, since two subsets may have the same size where galaxies are few.
    wide = sizes.set_index(["subset", "n_train", "test"])["shown"].unstack()  # noqa: PD010
    names = list(dict.fromkeys(sizes["test"]))
    wide = wide[names].rename(columns=NAMES).sort_index(ascending=False).reset_index()
    shown = wide.drop(columns="subset").rename(columns={"n_train": "N"}).astype({"N": int})
    paper = ""
    if results.is_published_comparison:
        lesion = published()["lesion"]
        pairs = zip(lesion["p_values"], lesion["sizes"], strict=True)
        values = ", ".join(f"{p:.2f} at N = {size}" for p, size in pairs)
        paper = f" The published p-values of Welch's test are {values}."
    better, worse = comparison.better, comparison.worse
    at_each = " at each size" if comparison.sizes > 1 else ""
    return Table(
        "lesion_tests",
        f"Has {better} the smaller error than {worse}? One-tailed p-values{at_each}",
        f"A p-value is small where the error of {better} is the smaller one. The Bayesian t gives no "
        f"p-value, but P, the probability that the error of {better} is smaller by more than {ROPE:g}: it is "
        f"large where the p-values are small. Another table says what each test assumes. {N_IS}{paper}",
        shown.astype(str),
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
        "One-tailed p-values over all sizes together",
        "Each row names a test, and the way in which the sizes are combined. The paired bootstrap of the "
        "mean over sizes resamples galaxies at all sizes at once, so it accounts for the galaxies that "
        "nested subsets share. With several seeds it is the test to quote. With one seed it mistakes luck in "
        "the training for skill. The corrected t does not, but has only the few folds to judge by.",
        pd.concat([shown, pd.DataFrame(paper)], ignore_index=True),
        numbers=combined,
        published=len(paper),
    )


def assumptions_table(comparison: Comparison) -> Table:
    """Return what each test of the lesion study assumes, in a sentence."""
    several = comparison.sizes > 1
    combined = comparison.combined if several else comparison.combined.head(0)
    used = dict.fromkeys([*comparison.per_size["test"], *combined["test"], *combined["combination"]])
    frame = pd.DataFrame(
        {"test": [NAMES[name] for name in used], "assumes": [ASSUMES[name] for name in used]}
    )
    caption = "A test that is combined over the sizes assumes what the test and the combination assume."
    caption = caption if several else "Each test is right only where what it assumes is true."
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
        "Fine-tuning should end by patience: when so many epochs in a row have not improved the validation "
        "accuracy. The network of the best epoch is scored. Epochs are those of fine-tuning, from the fewest "
        "to the most of any run; a best epoch of 0 means that none was better than the network before "
        f"fine-tuning. The rate is the learning rate of fine-tuning. {N_IS}",
        pd.DataFrame(rows),
        numbers=ended,
    )


def quality_table(results: StudyResults) -> Table:
    """Return how true the probabilities of each network are, before and after recalibration."""
    numbers, words = results.calibration, results.words
    rows = [
        {
            "method": row["arm"],
            "probabilities": row["p"].replace("platt", "Platt"),
            f"{words.many} among all": _percent(row["prevalence"]),
            "ECE": _interval(row, "ece"),
            "ECE of true probabilities": _or_dash(
                row["ece_null"], f"{row['ece_null']:.3f} (p {equals(row['ece_p'])})"
            ),
            "Brier": _interval(row, "brier"),
            "log-loss": _interval(row, "log_loss"),
            "AUROC": _interval(row, "auroc"),
            "Spiegelhalter z": _or_dash(row["spiegelhalter_z"], f"{row['spiegelhalter_z']:.1f}"),
        }
        for row in records(numbers)
    ]
    first = ["arm", "p", "prevalence"]
    names = ["caption", "survey" if len(set(numbers["prevalence"])) > 1 else "one_fraction"]
    return Table(
        "calibration",
        "Calibration of p_m, before and after recalibration",
        " ".join(texts()["calibration"][name] for name in names).format(**words._asdict()),
        pd.DataFrame(rows),
        numbers=numbers[first + [column for column in numbers if column not in first]],
    )


def robustness_table(arms: list[str], curves: pd.DataFrame) -> Table:
    """Return the error on degraded test images."""
    rows = []
    for degradation, part in curves.groupby("degradation", sort=False):
        for arm in (arm for arm in arms if arm in set(part["arm"])):
            steps = records(part[part["arm"] == arm])
            cells = {_step(place): _at_strength(step) for place, step in enumerate(steps)}
            rows.append({"degradation": degradation, "method": arm, **cells})
    return Table(
        "robustness",
        "Test error on degraded images",
        f"Mean over the folds; {SEM}. Each error is followed by the strength of the degradation. The first "
        "strength leaves the images as they are.",
        pd.DataFrame(rows).fillna(""),
        numbers=curves,
    )


def _p_text(row: dict[str, Any]) -> str:
    if row["test"] == "correlated_bayes_t":
        return f"P {equals(row['p_better'])}" if pd.notna(row["p_better"]) else ""
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
        "The strength is interpolated between those that were measured. Brackets hold the error without "
        "degradation and the largest one. The error of guessing is 0.5, so one above 0.25 rarely doubles. "
        "An error of 0 can't double: a dash stands there.",
        pd.DataFrame(rows).fillna(""),
        numbers=doubled,
    )


def _of_arms(arms: list[str], part: pd.DataFrame, text: Callable[[dict[str, Any]], str]) -> dict[str, str]:
    """Return the text of each arm's row, in the order of the arms."""
    rows = {row["arm"]: row for row in records(part)}
    return {arm: text(rows[arm]) for arm in arms if arm in rows}


def _at_strength(row: dict[str, Any]) -> str:
    return f"{shorthand(row['error'], row['sem'])} at {row['strength']:g}"


def _step(place: int) -> str:
    return f"step {place}" if place else "as they are"


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
        "weights at the start": settings["init.weights"],
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
        "ended by patience": f"{ended_well.sum()} of {len(runs)}",
        "other ends": ", ".join(f"{n} {name}" for name in CAVEAT_SENTENCES if (n := runs[name].sum())) or "–",
    }


def _range(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low}" if low == high else f"{low} to {high}"


def _or_dash(value: float, text: str) -> str:
    return text if pd.notna(value) else "–"


def _interval(row: dict[Any, Any], name: str) -> str:
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"
