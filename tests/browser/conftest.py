"""A headless Chromium, where one is installed; the tests here say why they skip elsewhere.

apt-get install chromium && pip install playwright      # or: pip install '.[browser]'
LTHPAPER_SCREENSHOTS=shots python -m pytest tests/browser   # keeps pictures of what was seen
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Playwright's browser object, on the Chromium of the system."""
    driver = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: the extra 'browser'"
    )
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=as_root)
        yield browser
        browser.close()


@pytest.fixture
def kept(request) -> Any:
    """`kept(page, name)` takes a picture of a page where LTHPAPER_SCREENSHOTS names a folder."""
    folder = os.environ.get("LTHPAPER_SCREENSHOTS")

    def keep(page: Any, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder) / f"{name}.png")

    return keep
