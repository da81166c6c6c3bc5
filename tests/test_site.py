"""The web site: built once without a warning, then read as a browser and a search would."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
# These links of a page load nothing.
NAMES_ONLY = {"canonical", "index", "search", "next", "prev", "author", "copyright"}


class Page(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, path):
        super().__init__()
        self.tags = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site."""
    for name in ("sphinx", "myst_nb", "sphinx_book_theme"):
        pytest.importorskip(name, reason="pip install -e '.[site]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "docs" / "pages.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def pages(site):
    """Every page by its address."""
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {path.relative_to(site).as_posix(): Page(path) for path in paths}


def test_every_notebook_and_the_other_pages_are_there(pages):
    for path in ROOT.glob("notebooks/**/[0-9][0-9]_*.ipynb"):
        assert path.relative_to(ROOT).with_suffix(".html").as_posix() in pages
    for name in ("index", "glossary", "results", "api", "api/mnist_helpers", "search"):
        assert f"{name}.html" in pages


def test_every_image_has_its_alternative_text(pages):
    for name, page in pages.items():
        alts = [tag.get("alt") for kind, tag in page.tags if kind == "img"]
        for alt in alts:
            assert alt, name
            assert not re.search(r"\.(png|svg|jpe?g)$", alt), (name, alt)
        source = ROOT / Path(name).with_suffix(".ipynb")
        if source.exists():
            cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
            outputs = [output for cell in cells for output in cell.get("outputs", [])]
            pictures = [
                o["metadata"]["image/png"] for o in outputs if "image/png" in o.get("data", {})
            ]
            told = [picture["alt"].split() for picture in pictures]
            assert [alt.split() for alt in alts if alt.split() in told] == told


def test_nothing_is_loaded_from_other_servers(site, pages):
    for name, page in pages.items():
        for kind, tag in page.tags:
            if kind in LOADED and tag.get("rel") not in NAMES_ONLY:
                assert not re.match(r"(https?:)?//", tag.get(LOADED[kind]) or ""), (name, tag)
            assert not re.search(r"url\(['\"]?https?:", tag.get("style") or ""), (name, tag)
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import )\s*['\"]?(https?:)?//", text), path.name


def test_every_link_on_the_site_leads_somewhere(site, pages):
    places = {name: {tag.get("id") for _, tag in page.tags} for name, page in pages.items()}
    for name, page in pages.items():
        for kind, tag in page.tags:
            target, _, place = (tag.get("href") or "").partition("#")
            if kind != "a" or re.match(r"[a-z]+:", target):
                continue
            path = (site / name).parent / target.partition("?")[0] if target else site / name
            assert path.exists(), (name, tag["href"])
            there = path.resolve().relative_to(site.resolve()).as_posix()
            if place and there in places:
                assert place in places[there], (name, tag["href"])


def test_the_search_finds_temperature_in_handwriting(site):
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    found = index["terms"]["temperatur"]
    found = found if isinstance(found, list) else [found]
    assert "notebooks/09_handwriting" in [index["docnames"][place] for place in found]


def test_the_site_is_small(site):
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert size <= 25_000_000


def test_the_first_use_of_a_term_leads_to_the_glossary(pages):
    links = [tag.get("href") for _, tag in pages["notebooks/02_model.html"].tags]
    assert "../glossary.html#term-softmax" in links
    first = [tag.get("href") for _, tag in pages["notebooks/01_data.html"].tags]
    assert "../glossary.html#term-softmax" not in first


def test_the_glossary_is_sorted_and_names_the_notebook_of_each_term():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    entries = text[text.index("```{glossary}") :].split("\n", 1)[1].rstrip("`\n")
    terms = [entry.split("\n")[0] for entry in entries.split("\n\n")]
    assert len(terms) >= 50
    assert terms == sorted(terms, key=str.casefold)
    for entry in entries.split("\n\n"):
        number, path = re.search(r"\[Notebook (\d\d)\]\((\S+)\)$", entry).groups()
        assert (ROOT / path).exists()
        assert Path(path).name.startswith(number)
