"""The documentation site builds without warnings, its links work, and its pages look right."""

from __future__ import annotations

import fcntl
import functools
import html
import json
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from rescalehtc import api

from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

WIDTHS = (1280, 400)

# Opens all pages in frames of both widths, and lists the problems of each.
LOOK = """<!doctype html><body><script>
const look = ([page, width]) => new Promise(resolve => {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900; frame.src = page;
  frame.onload = () => {
    const inside = frame.contentDocument, wrong = [];
    if (!inside.querySelector("h1")) wrong.push("no heading");
    if (width > 1000 && getComputedStyle(inside.querySelector(".sidebar-drawer")).display === "none")
      wrong.push("no list of contents");
    for (const image of inside.images)
      if (!image.complete || !image.naturalWidth) wrong.push("not loaded: " + image.src);
    if (inside.documentElement.scrollWidth > frame.contentWindow.innerWidth)
      wrong.push("wider than the window");
    for (const table of inside.querySelectorAll(".table-wrapper"))
      if (table.scrollWidth > table.clientWidth)
        wrong.push("a table is too wide: " + table.innerText.slice(0, 60));
    for (const block of inside.querySelectorAll("div.highlight"))
      if (!block.querySelector("button.copybtn")) wrong.push("a block without a copy button");
    if (page !== "search.html" && !inside.querySelector(".edit-this-page")) wrong.push("can't be edited");
    if (/GENERATED/.test(inside.body.innerText)) wrong.push("shows how it was made");
    frame.remove();
    resolve([page, width, wrong]);
  };
  document.body.append(frame);
});
(async () => {
  const found = [];
  for (const page of PAGES) for (const width of WIDTHS) found.push(await look([page, width]));
  document.body.innerHTML = "<pre>" + JSON.stringify(found).replaceAll("<", "&lt;") + "</pre>";
})();
</script></body>"""


# Searches for each word, and shows the pages of the first results.
FIND = """<!doctype html><body><script>
const find = word => new Promise(resolve => {
  const frame = document.createElement("iframe");
  frame.src = "search.html?q=" + word;
  document.body.append(frame);
  const wait = setInterval(() => {
    const found = frame.contentDocument.querySelector("#search-results ul.search li a");
    if (!found) return;
    clearInterval(wait);
    resolve(found.getAttribute("href").replace(/[?#].*/, ""));
  }, 100);
});
(async () => {
  const found = [];
  for (const word of WORDS) found.push(await find(word));
  document.body.innerHTML = "<pre>" + JSON.stringify(found) + "</pre>";
})();
</script></body>
"""


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        for name, value in attrs:
            if value and name in ("href", "src"):
                self.links.append(value)
            elif value and name == "id":
                self.anchors.add(value)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The site. The first worker builds it for all workers, because this takes a minute."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    folder = shared / "site"
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _build(shared / "unfinished")
            (shared / "unfinished").rename(folder)
    return folder / "html"


def _build(folder: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"),
            *("-d", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")),
        ],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_the_site_has_every_page_and_name_and_no_link_leads_nowhere(site: Path) -> None:
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for source in (ROOT / "docs").rglob("*.md"):
        assert site / source.relative_to(ROOT / "docs").with_suffix(".html") in pages
    broken: list[str] = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else set()
            if not target.exists() or (
                parts.fragment and target in pages and unquote(parts.fragment) not in anchors
            ):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []

    # The reference consists of docstrings, with units and ranges.
    text = (site / "reference/htcjobs.html").read_text(encoding="utf-8")
    for name in ("HtcJobBatch.wait", "as_completed", "submit", "JobCounts", "Resubmission.submit"):
        assert f'id="rescalehtc.htcjobs.{name}"' in text
    text = (site / "reference/models.html").read_text(encoding="utf-8")
    assert "Virtual CPUs for the container, 1 to 64." in text


def test_each_page_has_a_markdown_twin_which_llms_txt_lists(site: Path) -> None:
    listed = (site / "llms.txt").read_text(encoding="utf-8")
    for source in (ROOT / "docs").rglob("*.md"):
        twin = source.relative_to(ROOT / "docs").with_suffix(".html.md")
        assert f"({twin.as_posix()})" in listed
        assert (site / twin).read_text(encoding="utf-8").startswith("#")
    twin = (site / "reference/api.html.md").read_text(encoding="utf-8")
    assert "get_htc_projects(" in twin
    assert "GENERATED" not in twin


def test_each_function_of_api_has_its_signature(site: Path) -> None:
    text = (site / "reference/api.html").read_text(encoding="utf-8")
    functions = [name for name in api.__all__ if name.islower()]
    assert len(functions) > 40
    assert [name for name in functions if f'id="rescalehtc.api.{name}"' not in text] == []


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def show(address: str, profile: Path) -> str:
    """The text that the page's script writes into a `pre` element."""
    assert BROWSER
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    options += [f"--timeout={HANG_SECONDS}000", "--virtual-time-budget=120000", "--dump-dom"]
    done = subprocess.run(
        [BROWSER, *options, address], capture_output=True, text=True, timeout=HANG_SECONDS
    )
    found = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert found, done.stdout + done.stderr
    return html.unescape(found[1])


in_a_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")


@in_a_browser
def test_search_finds_the_page_about_a_topic_first(site: Path, served: str, tmp_path: Path) -> None:
    topics = {
        "retry": "how-to/retries",
        "cancel": "how-to/cancelling",
        "install": "install",
        "files": "how-to/files",
        "timeout": "how-to/sessions",
        "proxy": "how-to/workspaces",
    }
    (site / "find.html").write_text(FIND.replace("WORDS", json.dumps([*topics])), encoding="utf-8")
    found = json.loads(show(f"{served}/find.html", tmp_path))
    assert found == [f"{page}.html" for page in topics.values()]


@in_a_browser
def test_pages_open_in_a_browser(site: Path, served: str, tmp_path: Path) -> None:
    sources = (ROOT / "docs").rglob("*.md")
    pages = [str(page.relative_to(ROOT / "docs").with_suffix(".html")) for page in sources]
    look = LOOK.replace("PAGES", json.dumps(pages)).replace("WIDTHS", json.dumps(WIDTHS))
    (site / "look.html").write_text(look, encoding="utf-8")
    seen: list[tuple[str, int, list[str]]] = json.loads(show(f"{served}/look.html", tmp_path))
    assert len(seen) == len(pages) * len(WIDTHS)
    assert [page for page in seen if page[2]] == []
