"""The documentation builds without a warning, its links lead somewhere, and nothing is left out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "mergerexp"
PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
VERBS = sorted(
    path.stem for path in PACKAGE.glob("*.py") if path.read_text().startswith('"""``python -m mergerexp.')
)
REPORT = "<!doctype html><title>A study</title><a href='figures/roc.pdf'>PDF</a>"
MARKDOWN = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(path for path in (REPOSITORY / "docs").rglob("*.md") if "_build" not in path.parts),
    REPOSITORY / "launchers" / "slurm_sandbox" / "README.md",
]
INCLUDES = {"index.md", "contributing.md", "changelog.md", "slurm_sandbox.md"}  # pages that hold another file
EXAMPLES = ("arrays", "resnet18", "imagenet_gentle", "sizes", "count")  # files that CONTRIBUTING.md adds


class Page(HTMLParser):
    """Anchors, links and resources of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.resources: set[str] = set()
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag has."""
        own = {name: value for name, value in attrs if value}
        self.anchors |= {own[name] for name in ("id", "name") if name in own}
        if "href" in own and tag == "a":
            self.links.add(own["href"])
        elif "href" in own and own.get("rel") in ("stylesheet", "icon", "preload"):
            self.resources.add(own["href"])
        if "src" in own:
            self.resources.add(own["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does, with a report."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "study" / "figures").mkdir(parents=True)
    (folder / "study" / "report.html").write_text(REPORT)
    (folder / "study" / "figures" / "roc.pdf").write_bytes(b"%PDF-1.4")
    options = ["-W", "--keep-going", "-q", "-d", str(folder / "doctrees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(REPOSITORY / "docs"), str(folder / "html")],
        env={**os.environ, "MERGEREXP_REPORT": str(folder / "study" / "report.html")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Read all pages."""
    return {path: Page(path) for path in site.rglob("*.html")}


@pytest.mark.slow
@pytest.mark.xdist_group("site")
class TestSite:
    def test_links_lead_somewhere(self, pages):
        broken = []
        for path, page in pages.items():
            for link in page.links | page.resources:
                parts = urlsplit(link)
                if parts.scheme or parts.netloc:
                    continue
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                anchors = pages[target].anchors if target in pages else {unquote(parts.fragment)}
                if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                    broken.append(f"{path.name}: {link}")
        assert not broken

    def test_pages_load_nothing_from_elsewhere(self, pages):
        for path, page in pages.items():
            assert not [src for src in page.resources if urlsplit(src).netloc], path

    def test_every_verb_and_package_appears(self, pages, site):
        reference, design = pages[site / "api" / "index.html"].text, pages[site / "design.html"].text
        assert len(VERBS) >= 5 and len(PACKAGES) >= 13
        for name in (*VERBS, *PACKAGES):
            assert f"mergerexp.{name}<" in reference, name
            assert re.search(rf"\b{name}\b", design), name
        for verb in VERBS:
            assert f">{verb}</span>" in pages[site / "index.html"].text, verb

    @pytest.mark.parametrize(
        "name",
        [
            "analysis.significance.welch",
            "cosmology.comoving_distance",
            "data.store.Dataset.open",
            "data.splits.make_split",
            "models.stored.StoredNetwork.rate",
            "runs.run_folder.RunFolder",
            "simulator.scenes.mergers",
            "tracking.study_reader.StudyReader.find",
            "config.schema.TrainConfig",
        ],
    )
    def test_the_reference_has_what_is_public(self, name, pages, site):
        page = pages[site / "api" / f"{name.split('.')[0].replace('cosmology', 'simulator')}.html"]
        assert f"mergerexp.{name}" in page.anchors

    def test_settings_are_all_there(self, pages, site):
        text = pages[site / "settings.html"].text
        for path in (REPOSITORY / "conf").rglob("*.yaml"):
            assert path.relative_to(REPOSITORY).as_posix() in text

    def test_the_report_is_a_page(self, pages, site):
        assert (site / "study" / "report.html").read_text() == REPORT
        page = pages[site / "report.html"]
        assert "study/report.html" in page.links & page.resources
        assert "built without a report" not in page.text

    def test_formulas_are_drawn_by_the_browser(self, pages, site):
        text = pages[site / "science.html"].text
        assert text.count("<math ") > 10
        assert "$" not in re.sub(r"<(pre|script|math)\b.*?</\1>", "", text, flags=re.DOTALL)


def slugs(path: Path) -> set[str]:
    """Return the anchors that forges give the headings of a Markdown file."""
    prose = re.sub(r"^( *)```.*?^\1```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_markdown_links_lead_somewhere_on_a_forge(path):
    prose = re.sub(r"^( *)```.*?^\1```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        parts = urlsplit(link)
        if not parts.scheme:
            target = (path.parent / parts.path).resolve() if parts.path else path
            assert target.is_file(), link
            assert target.name not in INCLUDES or target.parent.name != "docs", (
                f"{link} shows a forge nothing"
            )
            assert not parts.fragment or parts.fragment in slugs(target), link


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/design.md", "docs/science.md"])
def test_files_that_are_named_are_there(name):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    roots = "mergerexp|tests|conf|launchers|benchmarks|docs"
    for path in re.findall(rf"`((?:{roots})/[\w./-]+)`", text):
        is_example = any(word in Path(path).name for word in EXAMPLES)
        assert is_example or path == "docs/_build/html" or (REPOSITORY / path).exists(), path


def test_no_verb_that_exists_is_called_planned():
    text = (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")
    planned = text.split("\n## What is planned\n")[1].split("\n## ")[0]
    assert re.findall(r"^- \*\*", planned, re.MULTILINE)
    assert not set(re.findall(r"`(\w+)`", planned)) & set(VERBS)


def test_what_users_read_and_type_has_one_word_for_a_method():
    """The code, and the columns of what it writes, call it an arm."""
    pages = [path for path in MARKDOWN if path.name not in ("CONTRIBUTING.md", "CHANGELOG.md")]
    settings = [*(REPOSITORY / "conf").rglob("*.yaml"), *(PACKAGE / "config").glob("*.py")]
    for path in [*pages, *settings]:
        assert not re.findall(r"^.*\barms?\b.*$", path.read_text(encoding="utf-8"), re.MULTILINE), path
