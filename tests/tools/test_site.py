"""The documentation's site: it builds without a warning, its links lead somewhere, pages look right."""

from __future__ import annotations

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

from ..limits import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

# Opens all pages in frames, and tells of each what is wrong with it.
LOOK = """<!doctype html><body><script>
const pages = PAGES;
const look = page => new Promise(resolve => {
  const frame = document.createElement("iframe");
  frame.width = 1300; frame.height = 900; frame.src = page;
  frame.onload = () => {
    const inside = frame.contentDocument, wrong = [];
    if (!inside.querySelector("h1")) wrong.push("no heading");
    if (getComputedStyle(inside.querySelector(".sidebar-drawer")).display === "none")
      wrong.push("no list of contents");
    for (const image of inside.images)
      if (!image.complete || !image.naturalWidth) wrong.push("not loaded: " + image.src);
    if (inside.documentElement.scrollWidth > frame.contentWindow.innerWidth)
      wrong.push("wider than the window");
    frame.remove();
    resolve([page, wrong]);
  };
  document.body.append(frame);
});
(async () => {
  const found = [];
  for (const page of pages) found.push(await look(page));
  document.body.innerHTML = "<pre>" + JSON.stringify(found) + "</pre>";
})();
</script></body>"""


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
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
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
    return folder / "html"


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

    # The reference is made of docstrings, with units and ranges.
    text = (site / "reference/htcjobs.html").read_text(encoding="utf-8")
    for name in ("HtcJobBatch.wait", "as_completed", "submit", "JobCounts", "Resubmission.submit"):
        assert f'id="rescalehtc.htcjobs.{name}"' in text
    text = (site / "reference/models.html").read_text(encoding="utf-8")
    assert "Virtual CPUs for the container, 1 to 64." in text


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")
def test_pages_open_in_a_browser(site: Path, served: str, tmp_path: Path) -> None:
    assert BROWSER
    sources = (ROOT / "docs").rglob("*.md")
    pages = [str(page.relative_to(ROOT / "docs").with_suffix(".html")) for page in sources]
    (site / "look.html").write_text(LOOK.replace("PAGES", json.dumps(pages)), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    options += [f"--timeout={HANG_SECONDS}000", "--virtual-time-budget=60000", "--dump-dom"]
    done = subprocess.run(
        [BROWSER, *options, f"{served}/look.html"],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    found = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert found, done.stdout + done.stderr
    seen: list[tuple[str, list[str]]] = json.loads(html.unescape(found[1]))
    assert len(seen) == len(pages)
    assert [page for page in seen if page[1]] == []
