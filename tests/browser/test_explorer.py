"""The threshold explorer in a real browser: its numbers are those of `analysis`."""

from __future__ import annotations

import re

import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from mergerexp.analysis.calibration import jeffreys
from mergerexp.analysis.metrics import scores
from tests.browser.pages import ARMS, LABELS, SAMPLES, find, number, press, resize, written_page


def table(page: Chrome, name: str) -> dict[str, float]:
    cells = find(page, name).find_elements(By.CSS_SELECTOR, "[data-cell]")
    return {str(cell.get_attribute("data-cell")): number(cell) for cell in cells}


def check(page: Chrome, p_m: np.ndarray) -> None:
    """Compare all numbers that the explorer shows with those of `analysis` at what it says is chosen."""
    threshold = number(find(page, "threshold-shown"))
    prevalence = number(find(page, "prevalence-shown")) / 100
    expected = scores(LABELS, p_m, prevalence, threshold)
    truth, called = LABELS == 1, p_m >= threshold
    counts = {"tp": truth & called, "fn": truth & ~called, "fp": ~truth & called, "tn": ~truth & ~called}
    tp, fn, fp, tn = (int(rows.sum()) for rows in counts.values())
    fpr = fp / (fp + tn)
    assert number(find(page, "completeness")) == pytest.approx(100 * expected["recall"], abs=0.051)
    assert number(find(page, "fpr")) == pytest.approx(100 * fpr, abs=0.0051)
    assert number(find(page, "f1")) == pytest.approx(expected["f1"], abs=0.00051)
    if tp + fp:
        assert number(find(page, "purity")) == pytest.approx(100 * expected["precision"], abs=0.051)
    assert table(page, "test") == {"tp": tp, "fn": fn, "fp": fp, "tn": tn, "positives": 60, "negatives": 140}
    total = total_shown(page)
    assert total == 10_000 or 10 <= total * prevalence < 100  # few of 10,000 would be rounded to none
    rare, rest = total * prevalence, total * (1 - prevalence)
    survey = {"tp": rare * tp / 60, "fn": rare * fn / 60, "fp": rest * fpr, "tn": rest * (1 - fpr)}
    survey |= {"positives": rare, "negatives": rest}
    for name, shown in table(page, "survey").items():
        assert shown == pytest.approx(survey[name], abs=0.11 if survey[name] < 10 else 0.51), name
    check_that_counts_add_up(page)
    shown_limits = re.fullmatch(r"2σ: ([\d.]+)–([\d.]+) %", find(page, "fpr-limits").text)
    assert shown_limits
    for shown, limit in zip(shown_limits.groups(), jeffreys(fp, fp + tn), strict=True):
        assert float(shown) == pytest.approx(100 * float(limit), abs=0.006)


def total_shown(page: Chrome) -> int:
    """Return of how many galaxies the table of a survey says that it is."""
    said = re.match(r"Of ([\d,]+) galaxies", find(page, "survey").find_element(By.TAG_NAME, "caption").text)
    assert said
    return int(said[1].replace(",", ""))


def check_that_counts_add_up(page: Chrome) -> None:
    """Of both tables, and of the sentence that says how many are called."""
    for name in ("test", "survey"):
        shown = table(page, name)
        assert shown["tp"] + shown["fn"] == pytest.approx(shown["positives"], abs=1e-9)
        assert shown["fp"] + shown["tn"] == pytest.approx(shown["negatives"], abs=1e-9)
    assert shown["positives"] + shown["negatives"] == total_shown(page)
    said = re.fullmatch(
        r"Of ([\d,.]+) galaxies, of which ([\d,.]+) are mergers, .* calls ([\d,.]+) a merger "
        r"at a threshold of [\d.]+: ([\d,.]+) rightly and ([\d,.]+) wrongly\.",
        find(page, "summary").text,
        re.DOTALL,
    )
    assert said
    total, rare, called, rightly, wrongly = (float(found.replace(",", "")) for found in said.groups())
    assert total == total_shown(page)
    assert (rare, rightly, wrongly) == (shown["positives"], shown["tp"], shown["fp"])
    assert called == pytest.approx(rightly + wrongly, abs=1e-9)


def test_keyboard_moves_the_threshold(page):
    check(page, ARMS["imagenet"])
    threshold = find(page, "threshold")
    shown = set()
    for key, steps in ((Keys.ARROW_RIGHT, 3), (Keys.PAGE_UP, 4), (Keys.PAGE_DOWN, 7), (Keys.HOME, 1)):
        press(threshold, *[key] * steps)
        shown.add(find(page, "threshold-shown").text)
        assert threshold.get_attribute("aria-valuetext") == find(page, "threshold-shown").text
        check(page, ARMS["imagenet"])
    assert {"0.503", "0.000"} < shown
    assert len(shown) == 4
    assert number(find(page, "completeness")) == 100


def test_keyboard_moves_the_prevalence(page):
    prevalence = find(page, "prevalence")
    assert find(page, "prevalence-shown").text == "50 %"
    seen = []
    for key in (Keys.HOME, Keys.PAGE_UP, Keys.PAGE_UP, *[Keys.ARROW_RIGHT] * 3, Keys.END):
        press(prevalence, key)
        seen.append(number(find(page, "prevalence-shown")))
        check(page, ARMS["imagenet"])
    assert (seen[0], seen[-1]) == (0.1, 50)
    assert seen == sorted(seen)


def test_counts_add_up_at_every_threshold(page):
    """At all three shares, as they are shown: what is rounded alone may be off by one together."""
    check_every_share(page)


def test_a_class_may_be_so_rare_that_few_of_10000_galaxies_are_of_it(page, tmp_path):
    """1.5 and 0.2 of them, which would be shown as 1 or 2 and as 0."""
    page.get(written_page(tmp_path, prevalence=0.00015, survey=0.00002).as_uri())
    assert check_every_share(page) == [10_000, 100_000, 1_000_000]
    resize(page, 320)
    edges = (
        "return [...document.querySelectorAll('.confusion')].map((one) => one.getBoundingClientRect().right)"
    )
    assert max(page.execute_script(edges)) <= 320


def check_every_share(page: Chrome) -> list[int]:
    """Check the numbers at some thresholds for each share; return of how many galaxies they are."""
    totals = []
    for button in page.find_elements(By.CSS_SELECTOR, "[data-prevalence]"):
        press(button, Keys.ENTER)
        for cell in range(0, 1001, 100):
            page.execute_script(
                "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
                find(page, "threshold"),
                cell,
            )
            check(page, ARMS["imagenet"])
        totals.append(total_shown(page))
    return totals


def test_buttons_and_other_network(page):
    name = list(ARMS)[1]
    Select(find(page, "arm")).select_by_index(1)
    for button in page.find_elements(By.CSS_SELECTOR, ".presets button"):
        press(button, Keys.ENTER)
        check(page, ARMS[name])
    assert find(page, "threshold-shown").text == "0.990"
    assert [button.text for button in page.find_elements(By.CSS_SELECTOR, "[data-prevalence]")] == [
        "50 %",
        "30 %, as in the data set",
        "2 %",
    ]


def test_nothing_called(page):
    press(find(page, "threshold"), Keys.END)
    assert (ARMS["imagenet"] < 1).all()
    assert find(page, "purity").text == "—"
    assert find(page, "purity-limits").text == "nothing is called"
    assert number(find(page, "f1")) == 0
    check(page, ARMS["imagenet"])


def test_images_move_between_the_groups(page):
    p_m = ARMS["imagenet"][SAMPLES]
    for keys in ([], [Keys.PAGE_UP] * 3, [Keys.HOME], [Keys.END]):
        press(find(page, "threshold"), *keys)
        threshold = number(find(page, "threshold-shown"))
        wrong = (p_m >= threshold) != (LABELS[SAMPLES] == 1)
        for name, rows in (("called", p_m >= threshold), ("rest", p_m < threshold)):
            items = find(page, name).find_elements(By.TAG_NAME, "li")
            assert len(items) == rows.sum()
            assert (
                find(page, f"{name}-note").text == f"{rows.sum()} of 40 images, {(rows & wrong).sum()} wrong"
            )
            assert [item.text.splitlines()[1] for item in items].count("✗ wrong") == (rows & wrong).sum()
            shown = [float(item.text.splitlines()[0].strip("<>")) for item in items]
            assert shown == sorted(shown, reverse=True)
            assert shown == pytest.approx(sorted(p_m[rows], reverse=True), abs=0.001)


def test_plot_follows(page):
    def state() -> list[str | None]:
        wanted = (("path.purity", "d"), ("circle.completeness", "cx"), ("circle.completeness", "cy"))
        plot = find(page, "plot")
        return [plot.find_element(By.CSS_SELECTOR, name).get_attribute(key) for name, key in wanted]

    before = state()
    press(find(page, "threshold"), Keys.PAGE_UP)
    moved = state()
    assert moved[0] == before[0]
    assert all(float(moved[place]) > float(before[place]) for place in (1, 2))
    press(find(page, "prevalence"), Keys.HOME)
    assert state()[0] != before[0]
