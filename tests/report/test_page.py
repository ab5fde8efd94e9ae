"""The report as a file: whole, self-contained, its text never markup (tests/browser has how it behaves)."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mergerexp.analysis.calibration import jeffreys
from mergerexp.analysis.metrics import scores
from mergerexp.report.page.content import (
    Arm,
    Explorer,
    FigureBlock,
    Gallery,
    Headline,
    Report,
    Section,
    TableBlock,
    Thumb,
)
from mergerexp.report.page.render import render, write_page
from mergerexp.report.words import Words

HOSTILE = "</script></style></title><script>alert(1)</script><img src=x onerror=alert(1)>\"' onload='alert(1)"
ALLOWED = {
    "alt",
    "class",
    "content",
    "data-cell",
    "data-prevalence",
    "data-threshold",
    "for",
    "height",
    "hidden",
}
ALLOWED |= {"charset", "href", "http-equiv", "id", "lang", "max", "min", "name", "preserveaspectratio", "rel"}
ALLOWED |= {"role", "scope", "src", "step", "tabindex", "title", "type", "value", "width"}


class Page(HTMLParser):
    """What a page has: (tag, attributes) in their order, and the text of each tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "link", "img", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1], data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def picture(side: int = 8, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, 2 * side, 3), 99, np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def figure(folder: Path, name: str = "roc") -> FigureBlock:
    path = folder / f"{name}.png"
    path.write_bytes(picture(300, dpi=(200, 200)))
    return FigureBlock(name, "ROC", "Higher is better.", "A curve", path)


def section(*items: Any, id: str = "one") -> Section:
    return Section(id, "One", "", items)


def thumb(p_m: float = 0.25, label: int = 1, objid: int | str = 7) -> Thumb:
    return Thumb(picture(kind="JPEG"), p_m, objid, label)


def explorer_data(page: Page) -> dict[str, Any]:
    (text,) = (text for text in page.text("script") if text.lstrip().startswith("{") and '"arms"' in text)
    return json.loads(text)


def test_nothing_but_the_title(tmp_path):
    page = Page(render(Report("A study"), tmp_path))
    assert page.text("title") == page.text("h1") == ["A study"]
    assert page.all("script") == page.all("section") == page.all("figure") == []


def test_a_page_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "report.html"
    write_page(Report("First"), path)
    before = path.read_bytes()
    broken = FigureBlock("roc", "", "", "", tmp_path / "nothing.png")
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        write_page(Report("Second", sections=[section(broken)]), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_never_markup(tmp_path):
    frame = pd.DataFrame({HOSTILE: [HOSTILE], "p_m": ["0.5"]})
    items = [
        Gallery(HOSTILE, HOSTILE, HOSTILE, [(HOSTILE, [thumb(objid=HOSTILE)])]),
        TableBlock(HOSTILE, HOSTILE, HOSTILE, frame, [f"https://host/{HOSTILE}"]),
        replace(figure(tmp_path), name=HOSTILE + "2", title=HOSTILE, caption=HOSTILE, alt=HOSTILE),
    ]
    arm = Arm(HOSTILE, [0, 1], [0.2, 0.7], [thumb(objid=HOSTILE)])
    report = Report(
        HOSTILE,
        HOSTILE,
        [Headline(*[HOSTILE] * 4)],
        [HOSTILE] * 30,
        [Section(HOSTILE, HOSTILE, HOSTILE, items)],
        [HOSTILE],
        provenance={HOSTILE: {HOSTILE: HOSTILE}},
        explorer=Explorer([arm], 0.3, HOSTILE),
        verdict=[HOSTILE, HOSTILE],
    )
    page = Page(render(report, tmp_path))
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    assert len(page.all("style")) == 1
    assert len(page.all("img")) == 2
    names = {name for _, attributes in page.tags for name in attributes}
    assert {name for name in names - ALLOWED if not name.startswith("aria-")} == set()
    assert page.text("title") == [HOSTILE]
    assert explorer_data(page)["arms"][0]["name"] == HOSTILE
    assert explorer_data(page)["arms"][0]["samples"][0]["objid"] == HOSTILE


def test_nothing_points_elsewhere(tmp_path):
    arm = Arm("a", [0, 1], [0.2, 0.7], [thumb()])
    report = Report("T", sections=[section(figure(tmp_path))], explorer=Explorer([arm], 0.3))
    html = render(report, tmp_path)
    page = Page(html)
    for _, attributes in page.tags:
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#")[0] == "#" or attributes["href"] == "data:,"
    style, script = page.text("style")[0], page.text("script")[-1]
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    for name, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


def test_figures_are_inside_at_the_size_they_were_drawn_for(tmp_path):
    item = figure(tmp_path, "a figure: 100 %")
    (image,) = Page(render(Report("T", sections=[section(item)]), tmp_path)).all("img")
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == item.png.read_bytes()
    assert (image["width"], image["height"]) == ("288", "144")  # 3 by 1.5 inches
    assert image["alt"] == "A curve"
    item.png.with_suffix(".pdf").write_bytes(b"%PDF-")
    folder = tmp_path / "pages"
    links = Page(render(Report("T", sections=[section(item)]), folder)).all("a")
    assert "../a%20figure%3A%20100%20%25.pdf" in [link["href"] for link in links]


def test_tables(tmp_path):
    frame = pd.DataFrame(
        {
            "arm": ["imagenet", "random", "forest"],
            "error": ["0.0317", "0.0400", ""],
            "p": ["3.1e-05", "0.02 ± 0.01", "–"],
            "N": ["3000", "300", "12000"],
            "small": ["< 0.0001", "0.5 ± 0.1", "1 [0, 2]"],
            "what": ["long words, of which there are", "a", "few"],
        },
        index=[5, 6, 7],
    )
    links = ["https://host/1", None, "http://host/3"]
    page = Page(render(Report("T", runs=TableBlock("runs", "Runs", "All.", frame, links)), tmp_path))
    heads = [head for head in page.all("th") if head["scope"] == "col"]
    assert [head["class"] for head in heads] == ["", *["number"] * 4, "long"]
    assert len([head for head in page.all("th") if head["scope"] == "row"]) == 3
    cells = page.text("td")
    assert cells[:5] == frame.iloc[0, 1:].tolist()
    assert cells[5:10] == frame.iloc[1, 1:].tolist()
    assert cells[10:] == ["–", *frame.iloc[2, 3:]]
    assert [link["href"] for link in page.all("a") if link["href"].startswith("http")] == [links[0], links[2]]


def test_numbers_links_and_contents(tmp_path):
    frame = pd.DataFrame({"a": ["1"]})
    report = Report(
        "T",
        headline=[Headline("AUROC", "0.9", "published 0.99"), Headline("new", "1")],
        gaps=["one"],
        sections=[
            section(figure(tmp_path), TableBlock("roc", "B", "", frame)),
            section(Gallery("g", "C", "", [("Mergers", [thumb()])]), id="Two: 2"),
        ],
        errata=["wrong"],
        runs=TableBlock("runs", "R", "", frame),
        provenance={"code": {"commit": "1234"}, "cpu": ["here", "there"], "gpu": []},
    )
    page = Page(render(report, tmp_path))
    assert [text.split(".")[0] for text in page.text("b")] == ["Figure 1", "Table 1", "Figure 2", "Table 2"]
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {"figure-roc", "table-roc", "section-two-2", "figure-g"} < ids
    targets = [link["href"].removeprefix("#") for link in page.all("a")]
    contents = ["headline", "section-one", "section-two-2", "errata", "runs", "provenance"]
    assert targets == ["main", *contents]
    assert set(targets) <= ids
    assert {"published 0.99", "1234", "here, there", "–"} <= set(page.text("dd"))
    assert "Read with care: this study has 1 gap" in page.text("h2")


def test_many_gaps_are_folded_but_all_there(tmp_path):
    gaps = [f"cell {k} is missing" for k in range(40)]
    page = Page(render(Report("T", gaps=gaps), tmp_path))
    assert page.text("li") == gaps
    assert page.text("summary") == ["28 more"]


def test_one_page_has_the_same_bytes_each_time(tmp_path):
    arm = Arm("a", [0, 1], [0.2, 0.7], [thumb()])
    report = Report("T", sections=[section(figure(tmp_path))], explorer=Explorer([arm], 0.3))
    assert render(report, tmp_path) == render(report, tmp_path)


def test_explorer_counts_at_every_threshold(tmp_path):
    """Rounding p_m must decide no galaxy otherwise, least of all those at or next to a threshold."""
    rng = np.random.default_rng(5)
    grid = np.arange(1001) / 1000
    p_m = np.concatenate(
        [
            grid,
            np.nextafter(grid[1:], 0),
            np.nextafter(grid[:-1], 1),
            rng.random(500),
            rng.beta(0.1, 0.1, 500),
        ]
    )
    label = rng.integers(2, size=len(p_m))
    page = Page(render(Report("T", explorer=Explorer([Arm("a", label, p_m)], 0.3)), tmp_path))
    (arm,) = explorer_data(page)["arms"]
    assert (arm["positives"], arm["negatives"]) == (label.sum(), (1 - label).sum())
    for cell, threshold in enumerate(grid):
        expected = scores(label, p_m, threshold=threshold)
        assert arm["tp"][cell] / arm["positives"] == pytest.approx(expected["recall"], abs=1e-12)
        error = (1 - expected["recall"] + arm["fp"][cell] / arm["negatives"]) / 2
        assert error == pytest.approx(expected["error"], abs=1e-12)
    low, high = jeffreys(arm["fp"][700], arm["negatives"])
    assert [limits[700] for limits in arm["limits"]["fpr"]] == pytest.approx(
        [float(low), float(high)], abs=1e-5
    )


def test_other_classes_than_mergers(tmp_path):
    arm = Arm("a", [0, 1], [0.2, 0.7], [thumb()])
    gallery = section(Gallery("g", "Lots", "", [("all", [thumb()])]))
    words = Words.of("odd", "ordinary")
    text = render(Report("T", sections=[gallery], explorer=Explorer([arm], 0.3), words=words), tmp_path)
    assert "merger" not in text
    assert "called odd" in text and "share of odd galaxies" in text and 'alt="odd, p_m' in text


def test_explorer_keeps_each_image_once(tmp_path):
    samples = [thumb(0.9, 1, 1), thumb(0.1, 0, 2)]
    samples[1] = replace(samples[1], image=picture(9))
    other = [replace(sample, p_m=1 - sample.p_m) for sample in samples]
    arms = [Arm(name, [0, 1], [0.2, 0.7], images) for name, images in (("a", samples), ("b", other))]
    data = explorer_data(Page(render(Report("T", explorer=Explorer(arms, 0.3)), tmp_path)))
    assert len(data["images"]) == 2
    assert [sample["image"] for sample in data["arms"][0]["samples"]] == [0, 1]
    assert [(sample["objid"], sample["cell"]) for sample in data["arms"][1]["samples"]] == [
        ("2", 900),
        ("1", 99),
    ]


def test_a_large_study_makes_a_small_page(tmp_path):
    rng = np.random.default_rng(6)
    label = np.repeat([1, 0], [3000, 10000])
    arms = [Arm(str(k), label, rng.beta(0.2 + label, 1.2 - label)) for k in range(10)]
    assert len(render(Report("T", explorer=Explorer(arms, 0.23)), tmp_path)) < 500_000


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (Report("T", sections=[section(), section()]), "section 'one': another section"),
        (Report("T", sections=[section(*[Gallery("g", "", "", [])] * 2)]), "figure 'g': another figure"),
        (
            Report("T", sections=[section(Gallery("g", "", "", [("h", [Thumb(b"GIF89a", 0.5, 42, 1)])]))]),
            "object 42: neither a PNG nor a JPEG",
        ),
        (Report("T", sections=[section(Gallery("g", "", "", [("h", [thumb(1.5)])]))]), r"\[0, 1\]"),
        (
            Report("T", runs=TableBlock("runs", "", "", pd.DataFrame({"a": ["1", "2"]}), ["http://a"])),
            "shorter than",
        ),
        (
            Report("T", runs=TableBlock("runs", "", "", pd.DataFrame({"a": ["1"]}), ["javascript:alert(1)"])),
            "'javascript:alert.1.' is not an http",
        ),
        (
            Report("T", explorer=Explorer([Arm("big", [0, 1], [0.2, np.nan])], 0.5)),
            "p_m must lie",
        ),
        (
            Report("T", explorer=Explorer([Arm("big", [1, 1], [0.2, 0.7])], 0.5)),
            "both classes",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, report, message):
    with pytest.raises(ValueError, match=message):
        render(report, tmp_path)
