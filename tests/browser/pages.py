"""A page with all that it can hold, as the tests of this folder open it, and how they move in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from mergerexp.report.figures.style import figure, save
from mergerexp.report.page.content import (
    Arm,
    Explorer,
    FigureBlock,
    Gallery,
    Group,
    Headline,
    Link,
    Report,
    Section,
    TableBlock,
    Thumb,
)
from mergerexp.report.page.render import write_page
from tests.studies import galaxies, jpeg, rate

RUN = "document.documentElement.dataset.hostile = 1"
HOSTILE = (
    f"</script><script>{RUN}</script>",
    f"<!--<script>{RUN}</script>",
    f'"><img src="x" onerror="{RUN}">',
    f"'><svg onload='{RUN}'>",
    f"</style><script>{RUN}</script>{{{{ 7 * 7 }}}}",
)
OBJIDS, LABELS = galaxies()
ARMS = {
    name: rate(LABELS, skill, np.random.default_rng(seed))
    for seed, (name, skill) in enumerate([("imagenet", 1.0), ("random" + HOSTILE[0], 0.6)])
}
SAMPLES = np.arange(40, 80)  # as many mergers as others


def thumbs(p_m: np.ndarray) -> list[Thumb]:
    return [Thumb(jpeg(LABELS[i]), p_m[i], f"{OBJIDS[i]}{HOSTILE[i % 5]}", LABELS[i]) for i in SAMPLES]


def report(folder: Path, prevalence: float, survey: float) -> Report:
    """All that a page can hold, with hostile text wherever text can be."""
    png = folder / "roc & <curve>.png"
    Image.fromarray(np.full((300, 1600, 3), 255, np.uint8)).save(png, dpi=(100, 100))
    pair = []
    for name in ("left", "right"):
        with figure() as (made, axes):
            axes.plot([0, 1], [0, 1], label="$p_m$ <&>")
            axes.legend()
        svg = save(made, folder / "figures", name)
        pair.append(FigureBlock(name, f"The {name} one", "Up.", "A line", svg))
    a, b, c, d, e = HOSTILE
    frame = pd.DataFrame({f"method {a}": [b, c], **{f"p_m {e} {k}": ["0.5", "0.25"] for k in range(12)}})
    images = thumbs(ARMS["imagenet"])
    items = [
        FigureBlock(f"roc {a}", f"ROC {b}", c, d, png),
        TableBlock("scores", f"Scores {a}", b, frame),
        Gallery(
            "examples", f"Examples {c}", d, [Group(f"group {e}", images[:9], 210), Group("empty", [], 0)]
        ),
        *pair,
        FigureBlock("alone", "Alone", "", "A line", pair[0].image),
    ]
    runs = TableBlock("runs", "Runs", a, frame, [f"http://localhost/{c}", None])
    return Report(
        title=f"A study {a}",
        subtitle=f"Ours {b}",
        verdict=[f"It is better {a}", f"In 3 runs {e}"],
        headline=[Headline(f"error {c}", f"0.1 {d}", e, a), Headline("AUROC", "0.9")],
        gaps=[f"fold {k} is missing {b}" for k in range(20)],
        sections=[
            Section(f"first {a}", f"First {b}", f"One.\n\nTwo {c}.", items),
            Section("second", "Second", "", []),
        ],
        errata=[d],
        abstract=f"We find {a}",
        downloads=[Link(f"file {b}", "a%20file.csv", c), Link("page", "https://example.org/", e)],
        citation=[Link(f"us {d}", "", a)],
        runs=runs,
        provenance={a: {b: {c: d}}, "version": e},
        explorer=Explorer(
            [Arm(name, LABELS, p, thumbs(p)) for name, p in ARMS.items()], prevalence, e, survey
        ),
    )


def written_page(folder: Path, prevalence: float = 0.3, survey: float = 0.02) -> Path:
    """Write the page of a data set and a survey with these fractions of mergers; return its path."""
    write_page(report(folder, prevalence, survey), folder / "report.html")
    return folder / "report.html"


def resize(browser: Chrome, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def emulate(browser: Chrome, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def find(page: Chrome, name: str) -> WebElement:
    return page.find_element(By.ID, f"explorer-{name}")


def number(element: WebElement) -> float:
    return float(element.text.replace("%", "").replace(",", ""))


def press(element: WebElement, *keys: str) -> None:
    for key in keys:
        element.send_keys(key)
