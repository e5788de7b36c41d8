"""A report of a small study, opened as a colleague opens it: in a browser, with a keyboard, on any screen."""

import sys
from pathlib import Path
from typing import Any

import pytest

from lthpaper import locations
from lthpaper.report import notebooks, one_page
from lthpaper.report.report import report
from lthpaper.store.store import Store

pytest.importorskip("papermill", reason="the extra 'notebooks' is not installed")

ROOT = Path(__file__).resolve().parents[2]
FIELDS: dict[str, Any] = {
    "seeds": 1,
    "epochs": 2,
    "insufficient_epochs": 1,
    "rounds": [1],
    "learning_rates": [0.1],
}
FEW: dict[str, dict[str, Any]] = {  # what each notebook takes of a study as small as can be
    "fig1": FIELDS,
    "fig2": {},
    "fig4": {"seeds": 1, "epochs": 2, "surface_points": 5, "surface_images": 50},
}
WIDTHS = (400, 1400)


@pytest.fixture(scope="module")
def path(chromium, tmp_path_factory) -> Path:
    """The report of three figures, drawn from a few runs of two epochs."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        chosen = {name: notebooks.find(ROOT / "notebooks")[name] for name in FEW}
        places = {"scale": "smoke", "store": str(folder / "store"), "out": str(folder / "figures")}
        values = {name: places | few for name, few in FEW.items()}
        outcomes = list(notebooks.execute_all(chosen, values, folder / "executed", 2))
        assert not [outcome.error for outcome in outcomes if outcome.error]
        outcomes.sort(key=lambda outcome: outcome.name)
        fields = FIELDS | FEW["fig4"] | {"rounds": (1,), "learning_rates": (0.1,)}
        text = report(
            outcomes,
            "smoke",
            fields,
            locations.figures_folder("", folder / "figures"),
            Store(folder / "store"),
        )
    one_page.write(folder / "report.html", text)
    return folder / "report.html"


@pytest.fixture
def opened(chromium, path):
    """`opened(width)` is the report on a screen of that width; a request or complaint fails the test."""
    complaints: list[str] = []
    pages = []

    def at(width: int) -> Any:
        page = chromium.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None
        )
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield at
    for page in pages:
        page.close()
    assert complaints == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(opened, kept, width):
    page = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for details in page.locator("main details").all():
        details.evaluate("element => element.open = true")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    pictures = page.locator("img").all()
    assert pictures
    for picture in pictures:
        assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    kept(page, f"report-{width}")


def test_a_wide_table_scrolls_by_itself_beside_the_contents(opened):
    page = opened(1200)
    page.locator("#fig1 .table").first.evaluate("box => box.firstElementChild.style.minWidth = '3000px'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200


def test_a_state_is_printed_with_its_colour(opened):  # else white letters come out as pale grey on white
    state = opened(1400).locator(".state").first
    assert state.evaluate("word => getComputedStyle(word).printColorAdjust") == "exact"


def test_the_contents_are_reached_and_followed_by_keyboard(opened):
    page = opened(1400)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.hash || ''"))
    assert [name for name in seen if name][:5] == ["#front", "#fig1", "#fig2", "#fig4", "#origin"]
    page.locator("nav a[href='#fig4']").focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(100)
    assert page.locator("#fig4 h2").bounding_box()["y"] < 300


def test_code_is_hidden_until_it_is_asked_for(opened):
    page = opened(1400)
    assert not page.locator(".input").first.is_visible()
    page.locator("#code").focus()
    page.keyboard.press("Space")
    assert page.locator(".input").first.is_visible()


def test_a_run_is_shown_and_closed_by_keyboard_and_its_address_brings_it_back(opened, path, kept):
    page = opened(1400)
    page.locator("#fig1 details.behind summary").focus()
    page.keyboard.press("Enter")
    link = page.locator("#fig1 details.behind a").first
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert link.get_attribute("href")[5:] in dialog.inner_text()
    assert page.url.endswith(link.get_attribute("href"))
    kept(page, "run")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.hash") == link.get_attribute("href")
    page.goto(path.as_uri() + link.get_attribute("href"))
    page.reload()
    assert dialog.is_visible()


def test_a_mark_of_the_picture_leads_to_the_row_of_its_runs(opened):
    page = opened(1400)
    mark = page.locator("#fig1 a.mark").first
    mark.click()
    assert page.evaluate("'#' + document.activeElement.id") == mark.get_attribute("href")


@pytest.mark.parametrize("how", ["keys", "mouse"])
def test_a_surface_turns(opened, kept, how):
    page = opened(1400)
    canvas = page.locator("#fig4 canvas").first
    canvas.scroll_into_view_if_needed()
    assert canvas.evaluate("c => getComputedStyle(c).touchAction") == "pan-y"  # a finger scrolls past it
    page.wait_for_timeout(200)
    picture = "canvas => canvas.toDataURL()"
    before = canvas.evaluate(picture)
    if how == "keys":
        canvas.focus()
        page.keyboard.press("ArrowLeft")
    else:
        canvas.hover()
        page.mouse.down()
        page.mouse.move(700, 300, steps=4)
        page.mouse.up()
    page.wait_for_timeout(200)
    assert canvas.evaluate(picture) != before
    kept(page, f"surface-{how}")
    canvas.focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(200)
    assert canvas.evaluate(picture) == before
