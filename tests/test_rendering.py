"""The notebooks as a reader sees them: exported to HTML and opened in headless Chromium, without a network."""

from __future__ import annotations

import shutil
import subprocess

import nbformat
import pytest
from nbconvert import HTMLExporter

from .conftest import NOTEBOOKS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
         "--disable-background-networking", "--disable-sync", "--virtual-time-budget=5000", "--dump-dom"]  # fmt: skip
PROBE = """<script>window.addEventListener('load', () => {
  const pictures = [...document.images];
  document.title = JSON.stringify([pictures.length, pictures.filter(p => p.naturalWidth > 200).length,
    document.querySelectorAll('h1').length, document.querySelectorAll('table').length]);
});</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_chromium_shows_every_figure_and_table(path, tmp_path):
    book = nbformat.read(path, as_version=4)
    html, _ = HTMLExporter(template_name="lab").from_notebook_node(book)
    page = tmp_path / "page.html"
    page.write_text(html.replace("</head>", PROBE + "</head>", 1), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True, encoding="utf-8", errors="replace", timeout=120, check=False,
    )  # fmt: skip
    title = done.stdout.split("<title>")[1].split("</title>")[0]
    pictures, shown, tops, tables = map(int, title.strip("[]").split(","))
    figures = sum("image/png" in o.get("data", {}) for c in book.cells for o in c.get("outputs", []))
    badges = html.count("colab-badge.svg")  # they lie on another server, so they stay empty without a network
    assert (pictures, shown, tops) == (figures + badges, figures, 1)
    assert tables >= 2
    assert "Traceback" not in done.stdout
