"""Open a page in a browser that is installed, and keep what it complains of."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None)
"""Path of a browser, None where there is none."""


@contextmanager
def opened_page(html: str, path: Path) -> Iterator[Any]:
    """Write *html* to *path* and open it as wide as a phone; `complaints` of the tab are errors, dialogs and requests to the network."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if BROWSER is None:
        pytest.skip("needs a browser: chromium or google-chrome on PATH")
    path.write_text(html)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        tab.complaints = []
        tab.on("console", lambda message: tab.complaints.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (tab.complaints.append(dialog.message), dialog.dismiss()))
        tab.on(
            "request", lambda request: None if request.url.startswith(("file:", "data:", "blob:")) else tab.complaints.append(request.url)
        )
        tab.goto(path.as_uri())
        tab.wait_for_selector("body[data-ready]", timeout=60_000)
        yield tab
        browser.close()
