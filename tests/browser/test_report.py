"""The report in a real browser: only what is ours runs, and it can be read on every screen and on paper."""

from __future__ import annotations

import base64
import json
import re
from itertools import pairwise

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.pages import HOSTILE, emulate, find, press, resize


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
    assert len(links) == 9
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
