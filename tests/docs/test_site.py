"""The site: it builds, its links work, it fits a phone; the MNIST graph counts ops correctly."""

import html.parser
import subprocess
import sys
import time
import urllib.parse

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from docs import mnist_graph
from exercises import graph_view
from tests.conftest import REPOSITORY
from tests.docs import browser

VALUES = {
    "images_placeholder:0": np.zeros((2, 784), np.float32),
    "labels_placeholder:0": np.zeros(2, np.int32),
    "softmax_linear/add:0": np.zeros((2, 10), np.float32),
}


@pytest.fixture(scope="module")
def recorded():
    """For each choice of the page, the names of the ops that a real session records."""
    with graph_view.plain_session(mnist_graph.build()) as sess:
        sess.run("init")
        return [
            graph_view.recorded(sess, fetches, {feed: VALUES[feed] for feed in feeds})
            for _, fetches, feeds in mnist_graph.CHOICES
        ]


def test_the_plan_of_each_choice_is_what_a_session_records(recorded):
    graph = mnist_graph.build()
    for (_, fetches, feeds), ran in zip(mnist_graph.CHOICES, recorded, strict=True):
        assert set(graph_view.plan(graph, fetches, feeds).ops) == ran
    assert len(mnist_graph.CHOICES) == 10
    assert len({len(ran) for ran in recorded}) >= 9  # they are different questions


@pytest.mark.slow
def test_the_page_counts_as_a_session_records(recorded, site):
    total = len(mnist_graph.build().get_operations())
    with browser.page() as page:
        page.open((site / "mnist_graph.html").as_uri())
        for number, ran in enumerate(recorded):
            page.run("document.querySelectorAll('.choices button')[arguments[0]].click()", number)
            lit = page.run(
                "return [...document.querySelectorAll('.op.runs')].map(op => op.dataset.op)"
            )
            assert set(lit) == ran, mnist_graph.CHOICES[number]
            answer = page.run("return document.querySelector('.answer').textContent")
            assert answer == f"{len(ran)} of {total} ops run."

        # Clicks on the picture: fetch the loss, and then feed what the page asks for.
        click = (
            "document.querySelector(`.op[data-op='${arguments[0]}']`)"
            ".dispatchEvent(new Event('click'))"
        )
        page.run("document.querySelector('[data-clear]').click()")
        page.run(click, "xentropy_mean")
        answer = page.run("return document.querySelector('.answer').textContent")
        assert "feed a value for images_placeholder and labels_placeholder" in answer
        page.run("document.querySelector('input[value=feed]').click()")
        page.run(click, "images_placeholder")
        answer = page.run("return document.querySelector('.answer').textContent")
        assert "feed a value for labels_placeholder." in answer
        page.run(click, "labels_placeholder")
        answer = page.run("return document.querySelector('.answer').textContent")
        assert answer == f"{len(recorded[1])} of {total} ops run."


def test_a_session_names_one_of_the_missing_placeholders():
    graph = mnist_graph.build()
    missing = graph_view.plan(graph, "xentropy_mean:0").missing
    assert missing == ("images_placeholder", "labels_placeholder")
    with graph_view.plain_session(graph) as sess:
        sess.run("init")
        with pytest.raises(tf.errors.InvalidArgumentError) as raised:
            sess.run("xentropy_mean:0")
    assert any(f"placeholder tensor '{name}'" in str(raised.value) for name in missing)


class _Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.targets, self.ids = [], set()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids.add(attributes.get("id"))
        for name in ("href", "src"):
            if attributes.get(name):
                self.targets.append(attributes[name])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("myst_nb")  # the extra "docs"
    output = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "docs.build", "--output", str(output)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return output / "html"


def _pages(site):
    return sorted(site.rglob("*.html"))


@pytest.mark.slow
def test_every_link_and_picture_is_there(site):
    broken, parsed = [], {}
    for page in site.rglob("*.html"):
        parsed[page.resolve()] = links = _Links()
        links.feed(page.read_text(encoding="utf-8"))
    for page, links in parsed.items():
        for target in links.targets:
            url = urllib.parse.urlsplit(target)
            if url.scheme or url.netloc or not (url.path or url.fragment):
                continue
            file = (page.parent / urllib.parse.unquote(url.path)).resolve() if url.path else page
            if not file.exists():
                broken.append((page.name, target))
            fragment = urllib.parse.unquote(url.fragment)
            if fragment and file in parsed and fragment not in parsed[file].ids:
                broken.append((page.name, target))
    assert not broken
    assert len(parsed) > 30
    for notebook in (REPOSITORY / "notebooks").glob("*.ipynb"):
        page = (site / "notebooks" / notebook.name).with_suffix(".html").resolve()
        (download,) = {t for t in parsed[page].targets if t.endswith(f"/{notebook.name}")}
        assert (page.parent / download).read_bytes() == notebook.read_bytes()
    assert (site / "searchindex.js").exists()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_fits_its_window_and_shows_its_pictures(site, width):
    too_wide, not_shown = [], []
    with browser.page() as page:
        page.size(width, 900)
        for path in _pages(site):
            page.open(path.as_uri())
            found = page.run("return document.documentElement.scrollWidth")
            if found > width:
                too_wide.append((str(path.relative_to(site)), found))
            missing = "return [...document.images].filter(i => !i.naturalWidth).map(i => i.src)"
            not_shown += page.run(missing)
    assert not too_wide
    assert not not_shown


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])  # on a telephone, the menu is dark
def test_text_stands_out_from_its_background(site, width):
    script = (REPOSITORY / "tests" / "docs" / "contrast.js").read_text(encoding="utf-8")
    faint, looked = [], 0
    with browser.page() as page:
        page.open("data:text/html,<p style='color:%23777'>grey</p><p style='color:%23767676'>dark")
        assert [text for _, text in page.run(script)[1]] == ["grey"]  # the two sides of 4.5
        page.open(
            "data:text/html,<svg width=200 height=50><rect width=200 height=50 fill='%23000'/>"
            "<text y=30 fill='%23333'>dark</text><text x=90 y=30 fill='%23fff'>light</text></svg>"
        )
        assert [text for _, text in page.run(script)[1]] == ["dark"]  # on a black rectangle
        page.size(width, 900)
        for path in _pages(site):
            page.open(path.as_uri())
            count, found = page.run(script)
            faint += [(str(path.relative_to(site)), *piece) for piece in found]
            looked += count
    assert not faint
    assert looked > 10_000


@pytest.mark.slow
def test_search_finds_the_pages_that_hold_a_word(site):
    with browser.page() as page:
        page.open((site / "search.html").as_uri() + "?q=bottleneck")
        for _ in range(100):
            found = page.run(
                "return [...document.querySelectorAll('#search-results li a')].map(a => a.href)"
            )
            if any("3_flowers_transfer.html" in address for address in found):
                break
            time.sleep(0.1)
    assert any("notebooks/3_flowers_transfer.html" in address for address in found), found
    assert any("glossary.html" in address for address in found), found


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site):
    loaded = set()
    with browser.page() as page:
        for path in _pages(site):
            page.open(path.as_uri())
            loaded |= set(
                page.run("return performance.getEntriesByType('resource').map(r => r.name)")
            )
            loaded |= set(
                page.run("return [...document.querySelectorAll('script[src]')].map(s => s.src)")
            )
    assert loaded
    assert not [address for address in loaded if not address.startswith(("file:", "data:"))]
