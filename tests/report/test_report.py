"""The report: one file that holds its figures, their runs and the scoreboard, and loads nothing."""

import errno
import html
import json
import re
import shutil
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from lthpaper.cli import figures, report
from lthpaper.cli import main as cli
from lthpaper.errors import InputError
from lthpaper.report import behind, notebooks, one_page
from lthpaper.report.surface_viewer import SurfaceViewer
from lthpaper.runs.scales import scale
from lthpaper.store.store import Store
from lthpaper.store.table import table
from lthpaper.studies import study
from lthpaper.sweep.stopping import Unfinished

pytest.importorskip("papermill", reason="the extra 'notebooks' is not installed")

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"seeds": "2", "epochs": "2", "insufficient_epochs": "1", "rounds": "1", "learning_rates": "0.1"}
FIELDS = {"seeds": 2, "epochs": 2, "insufficient_epochs": 1, "rounds": (1,), "learning_rates": (0.1,)}


class Page(HTMLParser):
    """The elements of a page, (tag, attributes), and its JSON."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.runs = json.loads(re.search(r'id="runs">(.*?)</script>', text, re.S)[1].replace("<\\/", "</"))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str, **having: str) -> list[dict[str, str | None]]:
        """Attributes of every such element."""
        return [a for t, a in self.elements if t == tag and having.items() <= a.items()]


def lthpaper(monkeypatch, *words: str) -> int:
    """The exit status of a command."""
    monkeypatch.setattr(sys, "argv", ["lthpaper", *words])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The folder in which a report of Figure 1 was made, of eight short runs: report.html, store."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        changes = [word for pair in SMALL.items() for word in ("--set", "=".join(pair))]
        places = ["--store", "store", "--out", "sent/report.html", "--notebooks", str(ROOT / "notebooks")]
        assert lthpaper(patch, "report", "fig1", "--scale", "smoke", "--train", *changes, *places) == 0
    return folder


@pytest.fixture
def text(made) -> str:
    return (made / "sent" / "report.html").read_text()


def test_a_report_loads_nothing_and_is_small(text):
    page = Page(text)
    for _, attributes in page.elements:
        assert not str(attributes.get("src") or "data:").startswith(("http", "//", "file"))
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest", text)
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'")
    assert len(text) < 2e6


def test_every_picture_has_a_text_alternative_and_every_link_a_target(text):
    page = Page(text)
    pictures = page.all("img")
    assert pictures
    assert all(len(picture["alt"]) > 30 for picture in pictures)
    names = {a["id"] for _, a in page.elements if "id" in a}
    points = {f"fig1-point-{k}" for k in range(len(page.runs["figures"]["fig1"]))}
    for link in page.all("a"):
        assert link["href"][1:] in names | points


def test_a_point_leads_to_its_runs_and_their_mean_is_the_stores(made, text):
    runs, points = Page(text).runs["runs"], Page(text).runs["figures"]["fig1"]
    results = study("fig1", "smoke", store=made / "store", **FIELDS).results
    assert set(runs) == set(results["digest"])
    assert {digest for point in points for digest in point["runs"]} == set(runs)
    for point in points:
        mine = results[results["digest"].isin(point["runs"])]
        assert point["mean"] == pytest.approx(mine["accuracy"].mean(), abs=1e-3)
        assert point["missing"] == 0
    for digest, row in results.set_index("digest").iterrows():
        assert runs[digest]["accuracy"] == pytest.approx(row["accuracy"], abs=1e-3)
        assert runs[digest]["curve"][-1] == pytest.approx([row["epochs"], row["accuracy"]], abs=1e-2)


def test_marks_of_the_picture_lead_to_points_whose_mean_they_show(made, text):
    links = Page(text).all("a", **{"class": "mark"})
    assert links
    points = Page(text).runs["figures"]["fig1"]
    for link in links:
        point = points[int(link["href"].rpartition("-")[2])]
        assert f"{point['setting']}, learning rate {point['lr']:g}" in link["title"]
        assert f"{point['mean']:.1f}" in link["title"]
        assert 0 < float(re.search(r"left:([\d.]+)%", link["style"])[1]) < 100


def test_it_has_the_scoreboard_what_we_see_and_where_it_comes_from(text):
    for words in ("LT-IMP clearly above RR-IMP", "What we see", "The paper's numbers beside ours", "torch "):
        assert words in text
    assert text.count('<span class="state') == 14
    assert "What will be trained" not in text  # of use where one works
    assert 'class="input"' in text  # there, and hidden until it is asked for


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fig9"], r"There is no notebook of 'fig9'"),
        (["--scale", "huge"], "huge"),
        (["fig1", "--set", "seed=3"], r"no parameter 'seed'"),
        (["--set", "seeds=2"], "has no parameter 'seeds'.* name the figures to change"),
        (["fig2", "--device", "tpu"], "There is no device 'tpu'"),
        (["fig2", "--out", "."], "is a folder; --out takes the name of a file"),
        (["fig2", "--out", "report.pdf"], "it must end in .html"),
    ],
)
def test_bad_input_is_a_sentence_before_anything_starts(words, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert lthpaper(monkeypatch, "report", *words, "--notebooks", str(ROOT / "notebooks")) == 2
    message = capsys.readouterr().err
    assert re.search(said, message)
    assert "Traceback" not in message


def test_a_notebook_that_failed_is_said_in_its_place(made, tmp_path):
    (executed,) = (made / "runs" / "notebooks").rglob("01_*.ipynb")
    drawn = made / "runs" / "figures"
    section = one_page.section("fig1", executed, drawn, error="ValueError: no such thing (cell 3)")
    assert section.title.startswith("Figure 1")
    assert "no such thing" in section.error
    absent = one_page.section("fig1", tmp_path / "none.ipynb", drawn)
    assert "not executed" in absent.error


def test_after_a_failure_the_command_that_makes_the_whole_report_is_said(monkeypatch, tmp_path, capsys):
    def failing(chosen, values, out, jobs):
        return (notebooks.Outcome(name, out / chosen[name].name, 0.0, "ValueError: no") for name in chosen)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(notebooks, "execute_all", failing)
    words = ["report", "fig2", "--scale", "smoke", "--notebooks", str(ROOT / "notebooks")]
    assert lthpaper(monkeypatch, *words) == 1
    said = capsys.readouterr().out.splitlines()
    assert f"  lthpaper {' '.join(words)}" in said
    assert not any("lthpaper figures" in line for line in said)


def test_another_picture_is_described_by_the_words_before_it_and_no_way_to_a_folder_is_told(
    monkeypatch, tmp_path
):
    nbformat = pytest.importorskip("nbformat")
    v4 = nbformat.v4
    picture = v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    cells = [
        v4.new_markdown_cell("# Figure 9: what"),
        v4.new_code_cell(f"# {tmp_path}/runs/store", outputs=[picture], metadata={"tags": ["figure"]}),
        v4.new_markdown_cell("## The `effects`\nConditions < bounds."),
        v4.new_raw_cell("for nbconvert"),
        v4.new_code_cell("plot()", outputs=[picture]),
    ]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "09_fig9.ipynb")
    monkeypatch.chdir(tmp_path)
    body = one_page.section("fig9", tmp_path / "09_fig9.ipynb", tmp_path).body
    alts = [html.unescape(alt) for alt in re.findall(r'<img alt="([^"]*)"', body)]
    assert alts == ["Figure 9: what", "The effects Conditions < bounds."]
    assert "runs/store" in body
    assert str(tmp_path) not in body


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    target = tmp_path / "report.html"
    one_page.write(target, "old")
    monkeypatch.setattr(Path, "replace", lambda self, other: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        one_page.write(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_report_is_named_as_the_figures_folder_is():
    assert figures.parted("laptop", {"seeds": "10", "surface_name": "x"}) == (
        {"seeds": "10"},
        {"surface_name": "x"},
    )
    assert figures.parted("laptop", {"seeds": "2"}) == ({"seeds": "2"}, {"seeds": 2})


def test_a_report_of_one_figure_does_not_write_over_that_of_all():
    assert [report.usual("laptop", names).name for names in (None, ["fig1"])] == [
        "laptop.html",
        "laptop-fig1.html",
    ]


def test_what_is_missing_is_counted(made, store):
    small = scale("smoke", **FIELDS)
    trials = study("fig1", small, store=made / "store").trials
    there = Store(made / "store")
    shutil.copytree(there.path(trials[0].run), store.folder / trials[0].run.name)
    points = behind.points(table(trials, store))
    assert sum(point["missing"] for point in points) == len({t.run for t in trials}) - 1
    assert behind.runs([t.run for t in trials], store)["runs"].keys() == {trials[0].run.digest}


def test_a_seed_that_diverged_is_counted_and_the_mean_is_of_the_others(made):
    trials = study("fig1", scale("smoke", **FIELDS), store=made / "store").trials
    results = table(trials, Store(made / "store"))
    place = results[results["setting"] == "pretraining"].head(1)
    lost = place.assign(digest="lost", accuracy=float("nan"))
    (point,) = behind.points(pd.concat([place, lost]))
    assert (point["diverged"], point["missing"]) == (1, 0)
    assert point["mean"] == pytest.approx(place["accuracy"].iloc[0], abs=1e-3)


def test_a_surface_keeps_what_lies_below_the_rim():
    about = {"panel": "a", "setting": "LT-IMP", "lr": 0.01, "seed": 0, "accuracy": 91.0}
    path = {"x": [0.5, 0.0], "y": [0.1, 0.0], "loss": [1.0, 0.02], "epoch": [0, 2]}
    scene = {"about": about, "x": [-1.0, 1.0], "y": [-1.0, 1.0], "path": path}
    viewer = SurfaceViewer([scene | {"loss": [[0.12345678, 30.0], [None, 2.0]]}])
    assert viewer.seeds[0][0]["loss"] == [[0.1235, None], [None, 2.0]]
    shown = viewer._repr_html_()
    assert '"loss":[[0.1235,null],[null,2.0]]' in shown
    assert "http" not in shown
    assert SurfaceViewer([])._repr_html_() == "<p>No loss surface is there yet.</p>"


def test_a_second_command_at_a_scale_waits_until_the_first_has_made_its_page(tmp_path, monkeypatch):
    said, done = threading.Event(), []
    monkeypatch.setattr(figures.console, "print", lambda *words: said.set())

    def second() -> None:
        with figures._alone(tmp_path / "smoke"):
            done.append("second")

    with figures._alone(tmp_path / "smoke"):
        thread = threading.Thread(target=second)
        thread.start()
        assert said.wait(60)
        done.append("first")
    thread.join(60)
    assert done == ["first", "second"]


def test_a_command_waits_until_its_time_limit_and_not_where_there_are_no_locks(tmp_path, monkeypatch):
    with figures._alone(tmp_path):
        second = figures._alone(tmp_path, 0.0)
        with pytest.raises(Unfinished, match="time limit"):
            second.__enter__()

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with figures._alone(tmp_path / "nfs"):
        pass


def test_a_report_cannot_be_made_without_nbconvert(monkeypatch, tmp_path):
    for name in ("nbformat", "jinja2"):
        monkeypatch.setitem(sys.modules, name, None)
    executed = tmp_path / "a.ipynb"
    executed.write_text("{}")
    with pytest.raises(InputError, match="pip install"):
        one_page.section("fig1", executed, tmp_path)


def test_a_mean_that_two_settings_share_leads_nowhere():
    from matplotlib import pyplot as plt

    from lthpaper.figures.marks import marks

    rows = [("LT-IMP", 90.0, "a"), ("LT-IMP", 92.0, "b"), ("RR-IMP", 80.0, "c"), ("SDT", 80.0, "d")]
    runs = pd.DataFrame(rows, columns=["setting", "accuracy", "digest"]).assign(lr=0.1)
    fig, ax = plt.subplots()
    ax.plot([0.1, 0.1], [91.0, 80.0], "o")
    ax.plot([0.1], [92.0], "-")  # no mark
    fig.canvas.draw()
    ((x, y, digest),) = marks(fig, runs)
    plt.close(fig)
    assert digest == "a"
    assert 0 < x < 1
    assert 0 < y < 0.5
