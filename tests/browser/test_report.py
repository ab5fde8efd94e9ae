"""The report in a real browser: only what is ours runs, and its numbers are those of `analysis`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from mergerexp.analysis.calibration import jeffreys
from mergerexp.analysis.metrics import scores
from mergerexp.report.figures.style import figure, save
from mergerexp.report.page.content import (
    Arm,
    Explorer,
    FigureBlock,
    Gallery,
    Group,
    Headline,
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


def report(folder: Path) -> Report:
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
        runs=runs,
        provenance={a: {b: {c: d}}, "version": e},
        explorer=Explorer([Arm(name, LABELS, p, thumbs(p)) for name, p in ARMS.items()], 0.3, e),
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_page(report(folder), folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def page(browser: Chrome, path: Path) -> Iterator[Chrome]:
    """The page, as on a desk and freshly loaded; after the test, the console must have been silent."""
    resize(browser, 1280)
    emulate(browser, "light")
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())
    yield browser
    assert browser.get_log("browser") == []


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
    rare, rest = 1e4 * prevalence, 1e4 * (1 - prevalence)
    survey = {"tp": rare * tp / 60, "fn": rare * fn / 60, "fp": rest * fpr, "tn": rest * (1 - fpr)}
    survey |= {"positives": rare, "negatives": rest}
    for name, shown in table(page, "survey").items():
        assert shown == pytest.approx(survey[name], abs=0.11 if survey[name] < 10 else 0.51), name
    check_that_counts_add_up(page)
    shown_limits = re.fullmatch(r"2σ: ([\d.]+)–([\d.]+) %", find(page, "fpr-limits").text)
    assert shown_limits
    for shown, limit in zip(shown_limits.groups(), jeffreys(fp, fp + tn), strict=True):
        assert float(shown) == pytest.approx(100 * float(limit), abs=0.006)


def check_that_counts_add_up(page: Chrome) -> None:
    """Of both tables, and of the sentence that says how many are called."""
    for name in ("test", "survey"):
        shown = table(page, name)
        assert shown["tp"] + shown["fn"] == pytest.approx(shown["positives"], abs=1e-9)
        assert shown["fp"] + shown["tn"] == pytest.approx(shown["negatives"], abs=1e-9)
    assert shown["positives"] + shown["negatives"] == 10_000
    said = re.fullmatch(
        r"Of 10,000 galaxies, of which ([\d,.]+) are mergers, .* calls ([\d,.]+) a merger "
        r"at a threshold of [\d.]+: ([\d,.]+) rightly and ([\d,.]+) wrongly\.",
        find(page, "summary").text,
        re.DOTALL,
    )
    assert said
    rare, called, rightly, wrongly = (float(number.replace(",", "")) for number in said.groups())
    assert (rare, rightly, wrongly) == (shown["positives"], shown["tp"], shown["fp"])
    assert called == pytest.approx(rightly + wrongly, abs=1e-9)


def test_only_ours_runs_and_nothing_is_loaded(page, path):
    assert page.execute_script("return document.documentElement.dataset.hostile") is None
    assert page.title == f"A study {HOSTILE[0]}"
    main = page.find_element(By.TAG_NAME, "body").text
    for text in (*HOSTILE, "Scores </script>", "random</script>"):
        assert text in main, text
    assert {script.get_attribute("type") for script in page.find_elements(By.TAG_NAME, "script")} == {
        "",
        "application/json",
    }
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    assert path.as_uri() in urls
    assert {url for url in urls if not url.startswith("data:")} == {path.as_uri()}


def test_the_policy_is_in_force(browser, page):
    script = """
        const done = arguments[0], blocked = [];
        addEventListener("securitypolicyviolation", (event) => {
            blocked.push(event.effectiveDirective);
            if (blocked.length === 4) done(blocked.sort());
        });
        const add = (name, attributes, text = "") => {
            const node = Object.assign(document.createElement(name), attributes);
            node.textContent = text;
            document.body.append(node);
        };
        add("script", {}, "document.documentElement.dataset.hostile = 1");
        add("style", {}, "body { display: none }");
        add("img", {src: "http://127.0.0.1:9/pixel.png"});
        fetch("http://127.0.0.1:9/").catch(() => null);
    """
    blocked = browser.execute_async_script(script)
    assert blocked == ["connect-src", "img-src", "script-src-elem", "style-src-elem"]
    assert browser.execute_script("return document.documentElement.dataset.hostile") is None
    browser.get_log("browser")  # what was blocked is told there


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
    for button in page.find_elements(By.CSS_SELECTOR, "[data-prevalence]"):
        press(button, Keys.ENTER)
        for cell in range(0, 1001, 100):
            page.execute_script(
                "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
                find(page, "threshold"),
                cell,
            )
            check(page, ARMS["imagenet"])


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


@pytest.mark.parametrize("width", [320, 390, 800, 1280, 1900])
def test_no_page_scrolls_sideways(page, width):
    resize(page, width)
    inner, scroll = page.execute_script("return [innerWidth, document.scrollingElement.scrollWidth]")
    assert scroll <= inner == width
    boxes = page.find_elements(By.CSS_SELECTOR, ".scroll")
    assert all(box.get_attribute("tabindex") == "0" for box in boxes)
    rights = page.execute_script(
        """return [...document.querySelectorAll("figure .card")]
            .map((card) => card.getBoundingClientRect().right)"""
    )
    assert len(rights) == 4 and max(rights) <= width  # no figure is cut off, however wide it was drawn
    if width < 600:
        assert scrolled(page) == []


def scrolled(page: Chrome) -> list[str]:
    """Return the figures and tables of which a part is out of sight until they are scrolled."""
    script = """return [...document.querySelectorAll(".scroll")]
        .filter((box) => box.scrollWidth > box.clientWidth)
        .map((box) => box.closest("figure").id)"""
    return list(page.execute_script(script))


@pytest.mark.parametrize("width", [320, 390, 700])
def test_on_a_phone_every_cell_is_in_sight(page, width):
    """A row of many columns is a card, in which each value stands below the name of its column."""
    resize(page, width)
    page.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    cells = page.execute_script(
        """return [...document.querySelectorAll("figure.table :is(th, td)")]
            .filter((cell) => cell.checkVisibility())
            .map((cell) => [cell.innerText, cell.getBoundingClientRect()])
            .map(([text, {left, right}]) => [text, left, right])"""
    )
    assert len(cells) == 2 * 2 * 13
    assert all(0 <= left < right <= width for _, left, right in cells)
    assert all("k" not in text or "\n" in text for text, *_ in cells[1:13])
    assert cells[1][0].splitlines()[-1] == "0.5"


@pytest.mark.parametrize(("width", "beside"), [(1280, True), (390, False)])
def test_figures_stand_in_pairs_of_one_width(page, width, beside):
    resize(page, width)
    rects = page.execute_script(
        """return [...document.querySelectorAll(".figures img")]
            .map((image) => image.getBoundingClientRect())
            .map(({x, y, width, height}) => [x, y, width, height])"""
    )
    left, right, alone = rects
    assert left[2:] == pytest.approx(right[2:]) and left[2:] == pytest.approx(alone[2:])
    assert (left[1] == right[1] and left[0] + left[2] < right[0]) == beside
    caption = page.find_element(By.ID, "figure-alone-caption").rect
    assert (caption["x"] > alone[0] + alone[2]) == beside
    sources = [image.get_attribute("src") for image in page.find_elements(By.CSS_SELECTOR, ".figures img")]
    assert all(source.startswith("data:image/svg+xml") for source in sources)


def test_an_image_is_enlarged_by_a_click(page):
    image = page.find_element(By.CSS_SELECTOR, ".gallery .thumb")
    small = image.size["width"]
    for close in (Keys.ESCAPE, None):
        press(image, Keys.ENTER)
        zoom = page.find_element(By.ID, "zoom")
        large = zoom.find_element(By.TAG_NAME, "img")
        assert large.size["width"] > 2.5 * small
        assert zoom.text == image.find_element(By.TAG_NAME, "img").get_attribute("alt")
        if close:
            press(zoom, close)
        else:
            large.click()
        assert not zoom.is_displayed()
    press(find(page, "called").find_element(By.CSS_SELECTOR, ".thumb"), Keys.ENTER)
    assert page.find_element(By.ID, "zoom").is_displayed()


def test_what_is_wrong_has_not_the_colour_of_links(page):
    wrong = page.find_element(By.CSS_SELECTOR, ".wrong img").value_of_css_property("outline-color")
    link = page.find_element(By.CSS_SELECTOR, "nav a").value_of_css_property("color")
    assert wrong != link


def test_print(page):
    printed = page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    pages = len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(printed["data"])))
    assert 3 <= pages <= 6
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        for control in page.find_elements(
            By.CSS_SELECTOR, "nav, #explorer :is(input, select, button, label)"
        ):
            assert not control.is_displayed()
        assert (
            "imagenet calls" in find(page, "summary").text
            and "threshold of 0.500" in find(page, "summary").text
        )
        height = "return arguments[0].getBoundingClientRect().height"
        gap = page.find_element(By.CSS_SELECTOR, ".gaps details li:last-child")
        assert page.execute_script(height, gap) > 0
        for folded in (".appendix table", ".appendix .facts"):
            assert not page.find_element(By.CSS_SELECTOR, folded).is_displayed()
        text = page.execute_script(
            "return parseFloat(getComputedStyle(document.querySelector('main p')).fontSize)"
        )
        for caption in page.find_elements(By.TAG_NAME, "figcaption"):
            assert caption.value_of_css_property("break-inside") == "avoid"
            assert float(caption.value_of_css_property("font-size").removesuffix("px")) < text
        for drawn in page.find_elements(By.CSS_SELECTOR, ".figures figure"):
            assert drawn.value_of_css_property("break-inside") == "avoid"
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_structure(page):
    assert page.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    for name in ("header", "nav", "main", "footer", "h1"):
        assert len(page.find_elements(By.TAG_NAME, name)) == 1, name
    images = page.find_elements(By.CSS_SELECTOR, "img, svg")
    assert len(images) == 1 + 3 + 9 + 40 + 1
    assert all(image.get_attribute("alt") or image.get_attribute("aria-label") for image in images)
    loaded = "return [...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    assert page.execute_script(loaded)
    headings = page.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4, h5, h6")
    levels = [int(heading.tag_name[1]) for heading in headings]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(heading.text for heading in headings)
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    links = page.find_elements(By.CSS_SELECTOR, "nav a")
    assert len(links) == 7
    assert {str(link.get_attribute("href")).split("#")[1] for link in links} <= set(ids)
    fields = page.find_elements(By.CSS_SELECTOR, "#explorer input, #explorer select, .presets button")
    assert len(fields) == 3 + 3 + 4
    assert all(field.accessible_name for field in fields)
    outputs = page.find_elements(By.CSS_SELECTOR, ".scores output")
    assert [output.accessible_name for output in outputs] == [
        "Completeness",
        "Purity",
        "False-positive rate",
        "F1",
    ]
    for header in page.find_elements(By.CSS_SELECTOR, "th"):
        assert header.get_attribute("scope") in ("col", "row")


def test_skip_link(page):
    press(page.find_element(By.TAG_NAME, "body"), Keys.TAB)
    link = page.switch_to.active_element
    assert (link.text, link.is_displayed(), link.rect["x"] >= 0) == ("Skip to the results", True, True)
    press(link, Keys.ENTER)
    assert page.switch_to.active_element.tag_name == "main"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page, scheme):
    """WCAG 2.1, 1.4.3: text stands out from what is behind it by 4.5 to 1 at least; figures stay on white."""
    emulate(page, scheme)
    script = """
        const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number)
            .map((value) => value / 255)
            .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
            .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
        const behind = (node) => {
            const colour = getComputedStyle(node).backgroundColor;
            return colour === "rgba(0, 0, 0, 0)" ? behind(node.parentElement) : colour;
        };
        return [...document.body.querySelectorAll("*")]
            .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
            .filter((node) => node.checkVisibility())
            .map((node) => {
                const style = getComputedStyle(node);
                const front = node.namespaceURI.endsWith("svg") ? style.fill : style.color;
                const pair = [front, behind(node)].map(light);
                return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), node.outerHTML.slice(0, 80)];
            });
    """
    ratios = page.execute_script(script)
    assert len(ratios) > 100
    assert min(ratios)[0] >= 4.5, min(ratios)
    card = page.find_element(By.CSS_SELECTOR, ".card")
    assert card.value_of_css_property("background-color") == "rgba(255, 255, 255, 1)"


def test_without_javascript(page, path):
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.get(path.as_uri())
        text = page.find_element(By.TAG_NAME, "main").text
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "needs JavaScript" in text
    assert "Called a merger" not in text
    assert "Figure 1" in text
