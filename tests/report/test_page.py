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
from mergerexp.frames import safe_csv_text
from mergerexp.report.figures.style import HEIGHT, WIDTH, save
from mergerexp.report.figures.style import figure as draw_figure
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
from mergerexp.report.page.render import render, write_page
from mergerexp.report.table import Table
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


def test_nothing_but_the_title():
    page = Page(render(Report("A study")))
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
        Gallery(HOSTILE, HOSTILE, HOSTILE, [Group(HOSTILE, [thumb(objid=HOSTILE)])]),
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
    page = Page(render(report))
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
    html = render(report)
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
    (image,) = Page(render(Report("T", sections=[section(item)]))).all("img")
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == item.image.read_bytes()
    assert (image["width"], image["height"]) == ("288", "144")  # 3 by 1.5 inches
    assert image["alt"] == "A curve"


def test_drawings_are_inside_as_svg_and_point_to_no_file(tmp_path):
    """A page that is sent alone is whole: its captions name files, and link to none."""
    with draw_figure() as (made, axes):
        axes.plot([0, 1], [0, 1])
    drawn = save(made, tmp_path / "figures", "line")
    assert {path.suffix for path in drawn.parent.iterdir()} == {".pdf", ".png", ".svg"}
    item = FigureBlock("line", "Line", "Up.", "A line", drawn)
    page = Page(render(Report("T", sections=[section(item)])))
    (image,) = page.all("img")
    assert base64.b64decode(image["src"].removeprefix("data:image/svg+xml;base64,")) == drawn.read_bytes()
    assert (image["width"], image["height"]) == (f"{96 * WIDTH:.0f}", f"{96 * HEIGHT:.0f}")
    assert "line" in page.text("span")
    assert all(link["href"].startswith("#") for link in page.all("a"))


def test_published_rows_are_marked():
    frame = pd.DataFrame({"method": ["ours", "theirs"], "error": ["0.03(1)", "0.032(1)"]})
    page = Page(render(Report("T", runs=TableBlock("t", "T", "", frame, published=1))))
    assert [row.get("class") for row in page.all("tr")] == [None, None, "published"]


def test_galleries_say_how_many_there_are_and_name_each_galaxy():
    named = replace(thumb(), file="merger/=1.png")
    groups = [Group("some", [named] * 2, 1210), Group("all", [thumb()], 1), Group("no", [], 0)]
    page = Page(render(Report("T", sections=[section(Gallery("g", "G", "", groups))])))
    assert page.text("small") == ["2 of 1,210 shown", "all 1 shown", "none"]
    assert page.text("span").count("merger/=1.png") == 2 and "7" in page.text("span")
    assert [image["alt"] for image in page.all("img")] == [
        *["a merger, p_m 0.2500, merger/=1.png"] * 2,
        "a merger, p_m 0.2500, object 7",
    ]


def test_tables_as_files_hold_no_markup_and_no_formulas(tmp_path):
    """Arms and classes may be called anything; a spreadsheet runs cells that begin with =, +, - or @."""
    frame = pd.DataFrame({"a|b": ["=1+1", "<img src=x>", "one\ntwo | `x`"], "n": [-1.5, 2, 3]})
    table = Table(name="t", title="<b>T</b>", caption="< 0.1\n<i>", shown=frame.astype(str), numbers=frame)
    table.write(tmp_path)
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert lines[0] == "# &lt;b>T&lt;/b>"
    assert lines[2:] == [
        r"| a\|b | n |",
        "| --- | --- |",
        "| =1+1 | -1.5 |",
        "| &lt;img src=x> | 2.0 |",
        r"| one two \| \`x\` | 3.0 |",
        "",
        "< 0.1 &lt;i>",
    ]
    again = pd.read_csv(tmp_path / "t.csv")
    assert again["a|b"].tolist() == ["'=1+1", "<img src=x>", "one\ntwo | `x`"]
    assert again["n"].tolist() == [-1.5, 2, 3]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_texts_for_csv_are_no_formulas(text):
    assert safe_csv_text(text) == f"'{text}"
    assert safe_csv_text(f"a{text}") == f"a{text}"


def test_tables():
    frame = pd.DataFrame(
        {
            "arm": ["imagenet", "random", "forest"],
            "error": ["0.0317", "0.0400", ""],
            "p": ["3.1e-05", "0.02(1)", "–"],
            "N": ["3000", "300", "12000"],
            "small": ["< 0.0001", "0.5(1)", "1 [0, 2]"],
            "what": ["long words, of which there are", "a", "few"],
        },
        index=[5, 6, 7],
    )
    links = ["https://host/1", None, "http://host/3"]
    page = Page(render(Report("T", runs=TableBlock("runs", "Runs", "All.", frame, links))))
    heads = [head for head in page.all("th") if head["scope"] == "col"]
    assert [head["class"] for head in heads] == ["", *["number"] * 4, "long"]
    assert len([head for head in page.all("th") if head["scope"] == "row"]) == 3
    cells = [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in page.text("td")]
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
            section(Gallery("g", "C", "", [Group("Mergers", [thumb()])]), id="Two: 2"),
        ],
        errata=["wrong"],
        runs=TableBlock("runs", "R", "", frame),
        provenance={"code": {"commit": "1234"}, "cpu": ["here", "there"], "gpu": []},
    )
    page = Page(render(report))
    assert [text.split(".")[0] for text in page.text("b")] == ["Figure 1", "Table 1", "Figure 2", "Table 2"]
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {"figure-roc", "table-roc", "section-two-2", "figure-g"} < ids
    targets = [link["href"].removeprefix("#") for link in page.all("a")]
    contents = ["headline", "section-one", "section-two-2", "errata", "runs", "provenance"]
    assert targets == ["main", *contents]
    assert set(targets) <= ids
    assert {"published 0.99", "1234", "here, there", "–"} <= set(page.text("dd"))
    assert "Read with care: this study has 1 gap" in page.text("h2")


def test_many_gaps_are_folded_but_all_there():
    gaps = [f"cell {k} is missing" for k in range(40)]
    page = Page(render(Report("T", gaps=gaps)))
    assert page.text("li") == gaps
    assert page.text("summary") == ["28 more"]


def test_one_page_has_the_same_bytes_each_time(tmp_path):
    arm = Arm("a", [0, 1], [0.2, 0.7], [thumb()])
    report = Report("T", sections=[section(figure(tmp_path))], explorer=Explorer([arm], 0.3))
    assert render(report) == render(report)


def test_explorer_counts_at_every_threshold():
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
    page = Page(render(Report("T", explorer=Explorer([Arm("a", label, p_m)], 0.3))))
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


def test_other_classes_than_mergers():
    arm = Arm("a", [0, 1], [0.2, 0.7], [thumb()])
    gallery = section(Gallery("g", "Lots", "", [Group("all", [thumb()])]))
    words = Words.of("odd", "ordinary")
    text = render(Report("T", sections=[gallery], explorer=Explorer([arm], 0.3), words=words))
    assert "merger" not in text
    assert "called odd" in text and "Share of odd galaxies" in text and 'alt="odd, p_m' in text


def test_explorer_keeps_each_image_once():
    samples = [thumb(0.9, 1, 1), thumb(0.1, 0, 2**63 - 1)]  # CASES: imagine 47 (JavaScript cuts ids off)
    samples[1] = replace(samples[1], image=picture(9))
    other = [replace(sample, p_m=1 - sample.p_m) for sample in samples]
    arms = [Arm(name, [0, 1], [0.2, 0.7], images) for name, images in (("a", samples), ("b", other))]
    data = explorer_data(Page(render(Report("T", explorer=Explorer(arms, 0.3)))))
    assert len(data["images"]) == 2
    assert [sample["image"] for sample in data["arms"][0]["samples"]] == [0, 1]
    assert [(sample["objid"], sample["cell"]) for sample in data["arms"][1]["samples"]] == [
        ("9223372036854775807", 900),
        ("1", 99),
    ]


def test_a_large_study_makes_a_small_page():
    rng = np.random.default_rng(6)
    label = np.repeat([1, 0], [3000, 10000])
    arms = [Arm(str(k), label, rng.beta(0.2 + label, 1.2 - label)) for k in range(10)]
    assert len(render(Report("T", explorer=Explorer(arms, 0.23)))) < 520_000


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (Report("T", sections=[section(), section()]), "section 'one': another section"),
        (Report("T", sections=[section(*[Gallery("g", "", "", [])] * 2)]), "figure 'g': another figure"),
        (
            Report(
                "T", sections=[section(Gallery("g", "", "", [Group("h", [Thumb(b"GIF89a", 0.5, 42, 1)])]))]
            ),
            "object 42: neither an SVG, a PNG nor a JPEG",
        ),
        (Report("T", sections=[section(Gallery("g", "", "", [Group("h", [thumb(1.5)])]))]), r"\[0, 1\]"),
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
def test_what_is_wrong_is_named(report, message):
    with pytest.raises(ValueError, match=message):
        render(report)
