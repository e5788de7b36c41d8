"""JupyterLab used as a person does: run all, see progress, mistype, interrupt and go on, move a slider."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jupyterlab", reason="the extra 'notebooks' is not installed")

ROOT = Path(__file__).resolve().parents[2]
SLOW = 600_000  # milliseconds that a kernel or a training may take on a busy machine
SMALL = {  # Figure 3 as a study of a few runs
    "scale": '"smoke"',
    "experiments": '"resnet8/digits"',
    "grid": "[0.01, 0.1]",
    "rounds": "[4]",
    "epochs": "2",
    "seeds": "2",
    "device": '"cpu"',
}
SETTINGS = {  # cells out of sight are there too, and nothing asks for news
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
}
LONG = (  # minutes, unless it is interrupted
    'lth.study("fig3", "smoke", experiments="resnet8/digits", grid=[0.01], rounds=[1], epochs=2000, seeds=1, '
    'device="cpu", store=store or None)'
)


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The address of a JupyterLab of the test's own, and its folder, which has Figure 3's notebook."""
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
    write(home / "notebooks" / "fig3.ipynb", SMALL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, settings in SETTINGS.items():
        (home / "settings" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "settings" / name).write_text(json.dumps(settings))
    own = {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    own |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "IPYTHONDIR": str(home / "ipython")}
    own |= {f"JUPYTER_{what}_DIR": str(home / what.lower()) for what in ("CONFIG", "DATA", "RUNTIME")}
    env = {name: value for name, value in os.environ.items() if not name.startswith("LTHPAPER_")}
    env.pop("MPLBACKEND", None)
    options = ["--no-browser", f"--port={port}", "--ServerApp.token=", "--ServerApp.password="]
    options += [f"--ServerApp.root_dir={home / 'notebooks'}"] + ["--allow-root"] * (os.geteuid() == 0)
    env |= own | {"PYTHONPATH": str(ROOT)}
    with open(home / "server.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], cwd=home, env=env, stdout=log, stderr=log
        )
    try:
        yield answered(f"http://127.0.0.1:{port}", server, home / "server.log"), home
    finally:
        server.terminate()
        server.wait(30)


def answered(address: str, server: subprocess.Popen, log: Path) -> str:
    """The address, once the server answers there."""
    until = time.time() + SLOW / 1000
    while time.time() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/lab", timeout=20).close()
            return address
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])


def write(path: Path, parameters: dict[str, str]) -> None:
    """Figure 3's notebook with other parameters."""
    (source,) = (ROOT / "notebooks").glob("05_fig3_*.ipynb")
    notebook = json.loads(source.read_text())
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            text = "".join(cell["source"])
            for name, value in parameters.items():
                text = re.sub(rf"^({name}: \w+ = ).*?(  #.*)?$", rf"\g<1>{value}\2", text, flags=re.M)
            cell["source"] = text
    path.write_text(json.dumps(notebook))


@pytest.fixture(scope="module")
def opened(chromium, lab) -> Iterator[Any]:
    """The notebook, open in JupyterLab with its kernel ready."""
    address, _ = lab
    page = chromium.new_page(viewport={"width": 1300, "height": 950})
    page.set_default_timeout(SLOW)
    page.goto(f"{address}/lab/tree/fig3.ipynb")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    cell(page, "study.provenance").wait_for()  # the last: all are there
    yield page
    page.close()


def idle(page: Any) -> None:
    """Wait until the kernel has nothing to do."""
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", state="attached")


def run_all(page: Any) -> None:
    """Run > Run All Cells."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def cell(page: Any, containing: str) -> Any:
    """The code cell that holds a text."""
    found = page.locator(".jp-CodeCell").filter(has=page.locator(".jp-InputArea", has_text=containing)).first
    found.scroll_into_view_if_needed()
    return found


def typed(page: Any, text: str) -> Any:
    """The last cell, after something else was written into it and it was run; a new one follows it."""
    cells = page.locator(".jp-CodeCell")
    last = cells.nth(cells.count() - 1)
    last.scroll_into_view_if_needed()
    last.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.type(text)
    page.keyboard.press("Shift+Enter")
    return last


def test_run_all_shows_one_bar_and_ends_with_what_we_see(opened, kept):
    run_all(opened)
    training = cell(opened, "study.train()")
    training.locator(".jp-OutputArea-output").first.wait_for()
    kept(opened, "lab-1-progress")
    cell(opened, "study.provenance").locator("details").wait_for()
    idle(opened)
    said = training.locator(".jp-OutputArea-output").all_inner_texts()
    assert len(said) == 1
    assert re.search(r"100\s?%|done|runs", said[0]), said
    seen = cell(opened, "study.findings()")
    seen.locator("details").first.wait_for()
    kept(opened, "lab-2-what-we-see")
    assert opened.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert opened.locator("text=Traceback").count() == 0


def test_a_wrong_parameter_is_answered_in_a_sentence(opened, kept):
    place = typed(opened, 'lth.study("fig3", sclae="laptop")')
    place.get_by_text("InputError").first.wait_for()
    said = place.locator(".jp-OutputArea-output").last.inner_text()
    kept(opened, "lab-3-wrong-parameter")
    assert "sclae" in said
    assert "scale" in said
    assert "Traceback" not in said
    assert len(said) < 600


def test_a_moved_slider_changes_verdict_and_picture(opened, kept):
    sliders = cell(opened, "lth.sliders.thresholds(study)")
    words = sliders.locator("p").first
    before, picture = words.inner_text(), sliders.locator("img").first.get_attribute("src")
    handle = sliders.locator(".noUi-handle").first
    handle.click()
    for _ in range(5):
        opened.keyboard.press("ArrowRight")
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(words).not_to_have_text(before, timeout=SLOW)
    expect(sliders.locator("img").first).not_to_have_attribute("src", picture, timeout=SLOW)
    idle(opened)
    kept(opened, "lab-4-slider")
    assert sliders.locator("p").first.inner_text() != before
    assert sliders.locator("img").first.get_attribute("src") != picture


def test_an_interrupted_training_says_what_is_kept_and_goes_on(opened, kept):
    place = typed(opened, f"more = {LONG}\nmore.train()")
    place.locator(".jp-OutputArea-output").filter(has_text=re.compile("run|epoch")).first.wait_for()
    opened.wait_for_timeout(3000)
    opened.get_by_role("menuitem", name="Kernel", exact=True).click()
    opened.get_by_role("menuitem", name="Interrupt Kernel").first.click()
    place.get_by_text("train again").first.wait_for()
    said = place.locator(".jp-OutputArea-output").last.inner_text()
    kept(opened, "lab-5-interrupted")
    assert "Traceback" not in said
    idle(opened)
    again = typed(opened, "more.train()")  # it goes on
    again.locator(".jp-OutputArea-output").filter(has_text=re.compile("run|epoch")).first.wait_for()
    opened.get_by_role("menuitem", name="Kernel", exact=True).click()
    opened.get_by_role("menuitem", name="Interrupt Kernel").first.click()
    again.get_by_text("train again").first.wait_for()
    kept(opened, "lab-6-goes-on")
