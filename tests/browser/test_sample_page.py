"""The page of a merger sample in a real browser: pictures, lists, links, on a screen, a phone and paper."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from mergerexp.analysis.mock_sample import MockSurvey
from mergerexp.config.compose import compose_cell
from mergerexp.config.sample_schema import SampleConfig
from mergerexp.populations.make import make_sample
from tests.browser.pages import resize
from tests.studies import jpeg

ID = "9007199254740993"  # 2^53 + 1, which no number of JavaScript's is


@pytest.fixture(scope="module")
def sample_page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    survey = MockSurvey().draw((0.02, 0.06), 300.0, np.random.default_rng(2)).drop(columns="is_merger")
    best = survey["p_best"].where(~survey["in_training_set"]).idxmax()
    survey.loc[best, ["p_best", "p_calibrated"]] = 1.0
    survey["objid"] = survey["objid"].astype(str)
    survey.loc[best, "objid"] = ID
    survey["file"] = "images/" + survey["objid"] + ".jpg"
    (folder / "images").mkdir()
    for name in survey["objid"][survey["p_best"] > 0.9]:
        (folder / f"images/{name}.jpg").write_bytes(jpeg(0))
    rated = folder / "rated"
    rated.mkdir()
    survey.to_parquet(rated / "merger_probabilities.parquet", index=False)
    (rated / "summary.json").write_text(json.dumps({"prevalence": 0.02, "calibrated_at": 0.231}))
    (rated / "merger_probabilities.csv.gz").write_bytes(b"rows")
    survey.to_parquet(folder / "all.parquet", index=False)
    model = folder / "model"
    model.mkdir()
    (model / "README.md").write_text("networks")
    (model / "CITATION.cff").write_text(
        "title: The networks\nlicense: BSD-3-Clause\nauthors: [{name: A. Team}]\n"
    )
    settings = [
        f"catalogue.file={folder}/all.parquet", f"ratings={rated}/merger_probabilities.parquet", "draws=2",
        "permutations=9", "regions=0", "catalogue.cuts={magnitude_r:17.77}", "page.file=file",
        f"samples={folder}/samples", f"page.model_folder={model}", "catalogue.columns.visual=visual",
    ]  # fmt: skip
    return make_sample(compose_cell("sample", settings, SampleConfig))


@pytest.fixture
def opened(browser: Chrome, sample_page: Path) -> Chrome:
    resize(browser, 1280)
    browser.get_log("performance")
    browser.get(sample_page.as_uri())
    return browser


def test_it_has_its_parts_and_loads_nothing(opened, sample_page):
    text = opened.find_element(By.TAG_NAME, "body").text
    for part in ("A. Team", "rows of the catalogue", "Downloads", "How to cite",
                 "Mergers with the highest", "BSD-3-Clause", "the method"):  # fmt: skip
        assert part in text, part
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    urls = {
        each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"
    }
    assert {url for url in urls if not url.startswith("data:")} == {sample_page.as_uri()}


def test_ids_stay_exact_and_lead_to_a_viewer_of_the_sky(opened):
    """Ids are texts, since JavaScript would cut them off (legacysurvey/imagine #47)."""
    first = opened.find_element(By.CSS_SELECTOR, "#table-table2_extremes tbody a")
    assert first.text == ID
    assert "navi?ra=" in first.get_attribute("href") and "{" not in first.get_attribute("href")
    assert ID in opened.find_element(By.CSS_SELECTOR, ".thumbs").text


def test_downloads_lead_to_files_that_are_there(opened):
    links = opened.find_elements(By.CSS_SELECTOR, "#downloads a")
    paths = [Path(unquote(urlsplit(link.get_attribute("href")).path)) for link in links]
    assert {path.name for path in paths} >= {
        "merger_probabilities.parquet",
        "merger_probabilities.csv.gz",
        "README.md",
    }
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_never_scrolls_sideways(opened, width):
    resize(opened, width)
    inner, scroll = opened.execute_script("return [innerWidth, document.scrollingElement.scrollWidth]")
    assert scroll <= inner == width


def test_every_link_and_picture_is_reached_by_keyboard(opened):
    names = set()
    for _ in range(90):
        opened.switch_to.active_element.send_keys(Keys.TAB)
        names.add(
            opened.switch_to.active_element.get_attribute("href") or opened.switch_to.active_element.tag_name
        )
    assert any("navi?ra=" in name for name in names) and any("doi.org" in name for name in names)
    assert "button" in names


def test_it_can_be_printed(opened):
    printed = base64.b64decode(opened.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed[:5] == b"%PDF-" and len(printed) > 50_000
