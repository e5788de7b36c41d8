"""The command trains nothing twice; bad input is one sentence and status 2, nothing stored or lost."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from lthpaper.cli import check, lists, terminal
from lthpaper.cli import main as cli
from lthpaper.cli import store as stores
from lthpaper.errors import InputError
from lthpaper.figures import FIGURES
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.rules import lt
from lthpaper.runs.run import setting
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task
from lthpaper.store.entry import RESULT
from lthpaper.store.store import Store
from lthpaper.sweep import measure
from lthpaper.sweep.executor import WorkFailed

ROOT = Path(__file__).resolve().parents[2]
TINY = ["epochs=1", "insufficient_epochs=1", "rounds=1", "learning_rates=0.1", "train_images=60", "seeds=1"]
TINY = [word for pair in TINY for word in ("--set", pair)]
OWN = """
import errno, os
from lthpaper.data import load
from lthpaper.networks import build

def small(num_classes, in_channels, size, width=1.0):
    return build("mlp", num_classes, width, in_channels, size)

def images():
    return load("digits").images

def interrupting():
    raise KeyboardInterrupt

def on_a_full_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "shard-0007.bin")

def without_its_file(root):
    return (root / "pixels.csv").read_text()

def with_a_broken_image():
    raise OSError("cannot identify image file 'cat.jpg'")  # as Pillow does, without a number

def with_a_bug():
    raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A working directory with a user's module in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("LTHPAPER_DEBUG", "")
    (tmp_path / "own_cli.py").write_text(OWN)
    yield tmp_path
    sys.modules.pop("own_cli", None)


@pytest.fixture
def command(project, monkeypatch, capsys):
    """The command with its exit status, as a shell sees it: command("plan", "fig1") -> status, out, err."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lthpaper", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def said(err: str) -> str:
    """The one sentence of an error."""
    assert "Traceback" not in err
    (line,) = err.strip().splitlines()
    assert line.startswith("lthpaper: ")
    assert line.endswith(".")
    return line


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, without what Python itself leaves there."""
    found = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def refused(command, project: Path, *words: str) -> str:
    """What is said of bad input; it leaves the working directory as it was."""
    before = files(project)
    status, _, err = command(*words)
    assert status == 2, err
    assert files(project) == before
    return said(err)


# --- what it does ---


def test_plan_run_list_and_claims_agree_on_what_there_is_and_nothing_is_trained_twice(
    command, project, monkeypatch
):
    store = ["--store", "kept"]
    (project / "results").mkdir()  # the checkout's are not listed
    status, out, _ = command("plan", "fig1", *TINY, *store)
    assert status == 0
    assert "to train" in out
    assert "resnet8 on digits, 1 epoch\n" in out
    assert not (project / "kept").exists()  # a plan starts nothing

    status, out, _ = command("run", "fig1", *TINY, *store, "--workers", "1", "--quiet", "--device", "cpu")
    assert status == 0
    assert out.startswith("3 runs trained, 3 in the store")  # pretraining, LT-IMP, RR-IMP
    trained = files(project / "kept")

    _, out, _ = command("run", "fig1", *TINY, *store, "--workers", "1", "--quiet")
    assert out.startswith("0 runs trained, 3 in the store")
    assert files(project / "kept") == trained
    _, out, _ = command("plan", "fig1", *TINY, *store)
    assert "trainings of" not in out

    status, out, _ = command("list", "runs", *store)
    assert status == 0
    assert "3 runs in" in out
    assert {"pretraining", "LT-IMP", "RR-IMP"} <= set(out.split())
    for console, words in ((lists.console, ("list", "runs")), (stores.console, ("store", "table"))):
        with monkeypatch.context() as at_80_columns:
            at_80_columns.setattr(console, "_width", 80)
            _, shown, _ = command(*words, *store)
        assert all(result.run.digest in shown for result in Store(project / "kept"))  # to be copied
        assert "…" not in shown
    monkeypatch.setattr(lists, "MOST_ROWS", 2)  # more than that are counted, not listed
    _, out, _ = command("list", "runs", *store)
    (row,) = [line.split() for line in out.splitlines() if "LT-IMP" in line]
    assert row == ["resnet8", "digits", "1", "LT-IMP", "1", "0.1", "0.20", "1"]
    monkeypatch.setattr(lists.console, "_width", 32)
    _, narrow, _ = command("list", "runs", *store)
    assert "…" not in narrow  # a name that is cut is no name
    assert "3 runs in" in out
    assert "lthpaper store table --store kept" in out

    smaller = ["--set", "grid=0.1", "--set", "experiments=resnet8/digits"]
    status, out, _ = command("claims", "--scale", "smoke", *TINY, *smaller, *store)
    assert status == 0
    assert "\n4  the sufficient recipe is far above the insufficient: " in out
    assert "\n    tried on: resnet8 on digits\n" in out
    assert "\n    ours (n = 1): pretraining, " in out
    there = files(project / "kept")  # what claims measure on weights is kept; nothing is trained
    assert {k: v for k, v in there.items() if not k.startswith("measurements/")} == trained

    assert command("store", "prune", "--weights", "--yes", *store)[0] == 0  # as published results are
    (entry,) = (r.run.name for r in Store(project / "kept") if setting(r.run) == "RR-IMP")
    shutil.rmtree(project / "kept" / entry)
    _, out, _ = command("plan", "fig1", *TINY, *store)
    assert "  1 of these is trained again, " in out  # pretraining, for RR-IMP's mask


def test_list_names_what_other_commands_take(command):
    _, out, _ = command("list")
    assert {"fig1", "table4", "smoke", "paper", "resnet20", "cifar10", "digits", "imp", "omp"} <= set(
        out.split()
    )


def test_list_marks_the_notebooks_that_plan_and_run_do_not_know():
    named = lists._figures()
    assert {n for n, title in named.items() if "(notebook only)" not in title} == set(FIGURES)
    assert set(named) - set(FIGURES) == {"explore", "lesson", "own-network"}


def test_a_pruning_rule_of_ones_own_is_listed_as_a_command_takes_it():
    named = lists._pruning()
    assert "package.module:Class" in named
    assert "own" not in named


def test_the_list_of_pruning_rules_marks_those_that_a_check_refuses(command):
    named = lists._pruning()
    refused = {name for name, about in named.items() if about.endswith("(not for --pruning)")}
    assert refused == {"shuffled", "random", "n-of-m", "permuted"}
    for name in refused:
        status, _, err = command("check", "mlp", "--pruning", name, "--plan")
        assert status == 2
        assert "Pruning rule" in err
    for name in set(named) - refused - {"package.module:Class"}:
        assert lt(name, pretraining(Task("mlp", "digits"), Recipe(), 0), 2).mask


def test_the_status_is_json_for_a_script(command, project):
    (project / "kept").mkdir()
    status, out, _ = command("status", "fig1", *TINY, "--store", "kept", "--json")
    found = json.loads(out)
    assert (status, found["done"], found["waiting"], found["network_epochs"]) == (0, 0, 3, 3)
    assert found["folder"] == str(project / "kept")


def test_the_status_of_figures_needs_no_store_where_nothing_was_trained_yet(command, project):
    status, out, _ = command("status", "fig1", *TINY, "--json")
    assert (status, json.loads(out)["waiting"]) == (0, 3)
    status, _, err = command("status", "fig9")
    assert (status, said(err).startswith("lthpaper: Unknown figure 'fig9'")) == (2, True)
    status, _, err = command("status")
    assert (status, "There is no store" in said(err)) == (2, True)


def test_what_no_run_could_do_is_said_before_any_run_fails_of_it(command, project, monkeypatch):
    (project / "a-file").touch()
    status, _, err = command("run", "fig1", *TINY, "--store", "a-file/store", "--quiet")
    assert status == 2
    assert said(err).endswith("a-file is not a folder. Name another place (--store).")
    monkeypatch.setenv("LTHPAPER_CHECKPOINT_SECONDS", "often")
    status, _, err = command("run", "fig1", *TINY, "--store", "kept", "--quiet")
    assert status == 2
    assert "LTHPAPER_CHECKPOINT_SECONDS is 'often'; it must be a number of seconds." in said(err)
    assert "failed" not in err
    assert not (project / "kept").exists()


def test_a_plan_is_json_for_a_script(command, project):
    words = ["plan", "fig1", *TINY, "--store", "kept", "--json", "--on", "2xh100", "--price", "2.5"]
    status, out, _ = command(*words)
    found = json.loads(out)
    assert (status, found["runs"], found["need_no_training"], found["to_train"]) == (0, 3, 0, 3)
    assert (found["network_epochs"], found["device"], found["missing_data"]) == (3, "2xh100", [])
    assert found["store"] == str(project / "kept")
    assert found["disk"] > 100_000  # bytes
    assert sum(each["count"] for each in found["trainings"]) == 3
    assert {"network", "data", "epochs", "narrowest", "widest"} < set(found["trainings"][0])
    optimistic, pessimistic = found["predictions"]
    assert 0 < optimistic["seconds"] < pessimistic["seconds"]
    assert optimistic["packs"] >= 1
    assert optimistic["dollars"] == pytest.approx(2.5 * optimistic["device_hours"])
    assert "--until-decided" in refused(command, project, *words[:-4], "--until-decided")


CHECK = ["--epochs", "1", "--rounds", "1", "--seeds", "1", "--learning-rates", "0.1", "--train-images", "60"]


def test_check_says_sdts_count_before_training_and_gives_a_verdict_after(command, project, monkeypatch):
    words = [
        "check",
        "own_cli:small",
        *CHECK,
        "--prunable",
        "*1.weight",
        "--store",
        "kept",
        "--device",
        "cpu",
    ]
    status, out, _ = command(*words, "--plan")
    assert status == 0
    assert "SDT at s = 0.200: width" in out
    assert "parameters for the subnetwork's" in out
    assert "predicted time" in out
    assert not (project / "kept").exists()

    monkeypatch.setattr(measure, "speeds", None)  # it trains without measuring how fast
    status, out, _ = command(*words, "--workers", "1", "--out", "drawn")
    assert status == 0
    assert "s = 0.200, IMP" in " ".join(out.split())  # a terminal wraps it
    assert {p.suffix for p in (project / "drawn").iterdir()} == {".png", ".svg", ".pdf", ".csv", ".json"}
    kept = files(project / "kept")
    _, out, _ = command(*words, "--workers", "1", "--out", "drawn")
    assert files(project / "kept") == kept


def test_checks_that_differ_in_what_is_checked_draw_into_different_folders():
    command = typer.main.get_command(cli.app).commands["check"]

    def folder(*words: str) -> str:
        return check._folder(command.make_context("check", ["mynets:cnn", *words]))

    assert folder() == "runs/check/mynets-cnn"
    assert folder("--seeds", "3", "--store", "kept", "--device", "cpu") == folder()
    assert folder("--on", "mydata:tiny", "--epochs", "1") == "runs/check/mynets-cnn,data=mydata-tiny,epochs=1"
    assert (
        folder("--no-decay-norms", "--prunable", "a") == "runs/check/mynets-cnn,decay_norms=False,prunable=a"
    )


def test_a_terminal_breaks_lines_between_words_and_a_pipe_none(monkeypatch, capsys):
    path = "/somewhere/with-hyphens/" + "x" * 40
    text = f"The figure of the network is in {path}\n  ① holds by the means, but one seed shows no spread"
    monkeypatch.setenv("COLUMNS", "30")
    terminal.console().print(text)
    terminal.complain(text)
    out, err = capsys.readouterr()
    assert out == err == f"{text}\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    terminal.console().print(text)
    terminal.complain(text)
    out, err = (re.sub(r"\x1b\[[0-9;]*m", "", said) for said in capsys.readouterr())
    broken = [
        "The figure of the network is",
        "in",
        path,
        "  ① holds by the means, but",
        "  one seed shows no spread",
    ]
    assert out.splitlines() == err.splitlines() == broken


# --- bad input ---

BAD_PLANS = {
    "figure": (["fig9"], "Unknown figure 'fig9'"),
    "scale": (["fig1", "--scale", "huge"], "Unknown scale 'huge'"),
    "network": (["fig1", "--set", "network=resnet9"], "Did you mean 'resnet8'?"),
    "data set": (["fig1", "--set", "data=cifar11"], "Did you mean 'cifar10'?"),
    "field": (["fig1", "--set", "epoch=3"], "A scale has no field 'epoch'"),
    "no value": (["fig1", "--set", "epochs"], "not FIELD=VALUE"),
    "type": (["fig1", "--set", "epochs=three"], "epochs is 'three'; it takes whole numbers"),
    "types in a list": (["fig1", "--set", "rounds=4,x"], "it takes whole numbers"),
    "fraction": (["fig1", "--set", "seeds=1.5"], "seeds is '1.5'"),
    "epochs": (["fig1", "--set", "epochs=0"], "epochs is 0"),
    "learning rate 0": (["fig1", "--set", "learning_rates=0"], "The learning rate is 0.0"),
    "learning rate below 0": (["fig1", "--set", "learning_rates=-0.1"], "The learning rate is -0.1"),
    "learning rate nan": (["fig1", "--set", "learning_rates=nan"], "The learning rate is nan"),
    "no learning rate": (["fig1", "--set", "learning_rates="], "not FIELD=VALUE"),
    "a list of none": (["fig1", "--set", "learning_rates=[]"], "at least one value"),
    "sparsity 0": (["fig1", "--set", "rounds=0"], "from 1 to 30"),
    "sparsity near 1": (["fig1", "--set", "rounds=400"], "from 1 to 30"),
    "precision": (["fig1", "--set", "precision=fp8"], "precision is 'fp8'"),
    "seeds": (["fig1", "--set", "seeds=0"], "seeds is 0"),
    "device": (["fig1", "--device", "cuda:99"], "There is no device 'cuda:99' here"),
    "device that only torch knows": (["fig1", "--device", "meta"], "There is no device 'meta' here"),
    "store": (["fig1", "--store", "own_cli.py"], "is a file; it must be a folder"),
    "a field twice": (["fig1", "--set", "seeds=2", "--set", "seeds=3"], "--set seeds=… is given twice"),
}


@pytest.mark.parametrize(("words", "sentence"), BAD_PLANS.values(), ids=BAD_PLANS)
@pytest.mark.parametrize("action", ["plan", "run"])
def test_a_bad_scale_or_figure_is_one_sentence(command, project, action, words, sentence):
    assert sentence in refused(command, project, action, *words)


BAD_CHECKS = {
    "network": (["resnet9"], "Unknown network 'resnet9'"),
    "no module": (["nowhere:make"], "cannot be imported"),
    "no function": (["own_cli:nothing"], "cannot be imported"),
    "data set": (["mlp", "--on", "digit"], "Did you mean 'digits'?"),
    "learning rates": (["mlp", "--learning-rates", "abc"], "--learning-rates is 'abc'"),
    "learning rate twice": (["mlp", "--learning-rates", "0.1,0.1"], "--learning-rates is '0.1,0.1'"),
    "learning rate": (["mlp", "--learning-rates", "0"], "The learning rate is 0.0"),
    "rounds": (["mlp", "--rounds", "4.5"], "--rounds is '4.5'; it takes different whole numbers"),
    "rounds out of range": (["mlp", "--rounds", "31"], "from 1 to 30"),
    "seeds": (["mlp", "--seeds", "0"], "seeds is 0"),
    "epochs": (["mlp", "--epochs", "0"], "epochs is 0"),
    "batch": (["mlp", "--batch-size", "0"], "batch_size is 0"),
    "momentum": (["mlp", "--momentum", "1"], "momentum is 1.0"),
    "schedule": (["mlp", "--schedule", "linear"], "schedule is 'linear'"),
    "optimizer": (
        ["mlp", "--optimizer", "adam"],
        "it must be one of sgd, nesterov, adamw",
    ),
    "data that is not here": (["mlp", "--on", "cifar10"], "cifar10 was not found"),
    "clip": (["mlp", "--clip", "-1"], "clip is -1.0"),
    "pattern": (["mlp", "--prunable", "conv*"], "matches conv*"),
    "images": (["mlp", "--train-images", "100000"], "train_images is 100000"),
    "figure's folder": (["mlp", "--out", "own_cli.py"], "own_cli.py is not a folder"),
    "below a file": (["mlp", "--out", "own_cli.py/drawn"], "own_cli.py is not a folder"),
    "figure's folder that takes no files": (["mlp", "--out", "/proc/drawn"], "put into /proc/drawn"),
    "a file of the data": (["mlp", "--on", "own_cli:without_its_file"], "csv', own_cli.py line "),
    "an image": (["mlp", "--on", "own_cli:with_a_broken_image"], "cannot identify image file 'cat.jpg'"),
    "control": (["mlp", "--control", "LT-shufled"], "Did you mean 'LT-shuffled'?"),
}


@pytest.mark.parametrize(("words", "sentence"), BAD_CHECKS.values(), ids=BAD_CHECKS)
def test_a_check_that_cannot_be_is_one_sentence(command, project, words, sentence):
    assert sentence in refused(command, project, "check", *words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["report", "fig1", "--out", "/proc/page.html"], "The report cannot be put into /proc"),
        (["report", "fig1", "--out", "own_cli.py/page.html"], "own_cli.py is not a folder"),
        (["bench", "--out", "own_cli.py"], "own_cli.py is not a folder"),
    ],
)
def test_a_place_that_takes_no_files_is_refused_before_the_work(command, project, words, sentence):
    assert sentence in refused(command, project, *words)


@pytest.mark.parametrize("words", [["run", "fig1"], ["figures", "fig1"], ["check", "mlp"]])
@pytest.mark.parametrize("limit", ["soon", "0", "-5m", "1h30"])
def test_a_time_limit_that_is_no_time_is_one_sentence(command, project, words, limit):
    assert f"The time limit is {limit!r}" in refused(command, project, *words, f"--time-limit={limit}")


def test_a_place_to_train_on_that_there_is_not_is_one_sentence(command, project):
    assert "'slurm' does not name a cluster; write ray" in refused(
        command, project, "run", "fig1", "--on", "slurm"
    )


def test_a_command_without_time_left_says_what_remains_and_how_to_go_on(command, project):
    words = ["run", "fig1", *TINY, "--store", "kept", "--time-limit", "0.001s"]
    status, _, err = command(*words)
    assert status == 75
    assert "0 runs were trained, 3 remain (3 network-epochs)" in err
    assert err.splitlines()[-1] == f"  lthpaper {shlex.join(words)}"
    assert not (project / "kept").exists()


def test_what_cannot_be_listed_is_one_sentence(command, project):
    assert "'figure' cannot be listed" in refused(command, project, "list", "figure")


READERS = [
    *(["results", "export"], ["store", "verify"], ["store", "prune", "--weights"]),
    *(["claims"], ["figures", "fig2", "--no-train"], ["report", "fig2"], ["status"]),
    *(["store", "table"], ["ticket", "export", "resnet8"], ["ticket", "cost", "resnet8"]),
]


@pytest.mark.parametrize("words", READERS)
def test_what_only_reads_a_store_refuses_one_that_is_not_there(command, project, words):
    places = ["--notebooks", str(ROOT / "notebooks")] * (words[0] in ("figures", "report"))
    said = refused(command, project, *words, *places, "--store", "nowhere")
    assert f"There is no store {project / 'nowhere'}: name a folder of results, or let" in said


def test_claims_refuse_a_field_that_a_scale_lacks(command, project):
    assert "no field 'epoch'" in refused(command, project, "claims", "--set", "epoch=1")


def missing(data: Path) -> None:
    pass


def empty(data: Path) -> None:
    data.mkdir()


def of_another_layout(data: Path) -> None:
    (data / "cifar10").mkdir(parents=True)
    (data / "cifar10" / "notes.txt").write_text("images follow")


def truncated(data: Path) -> None:
    folder = data / "cifar10" / "plain_text"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        (folder / f"{part}-00000-of-00001.parquet").write_bytes(b"PAR1 cut off")


@pytest.mark.parametrize("make", [missing, empty, of_another_layout, truncated])
def test_a_data_folder_that_cannot_be_read_is_one_sentence_before_anything_is_trained(command, project, make):
    make(project / "images")
    tiny = [*TINY, "--set", "data=cifar10"]
    assert "cifar10" in refused(command, project, "run", "fig1", *tiny, "--data", "images", "--quiet")


def test_a_damaged_entry_is_named_and_the_other_results_stay(command, project):
    words = ["run", "fig1", *TINY, "--store", "kept", "--workers", "1", "--quiet"]
    command(*words)
    entry = sorted((project / "kept").glob("*/run.json"))[0].parent
    (entry / RESULT).write_text('{"curves": ')
    assert entry.name in refused(command, project, "list", "runs", "--store", "kept")
    (entry / RESULT).unlink()
    assert entry.name in refused(command, project, *words)


def test_a_shell_sees_the_status_and_no_traceback(tmp_path):
    words = [sys.executable, "-m", "lthpaper", "plan", "fig1", "--set", "epochs=0"]
    root = str(Path(cli.__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "LTHPAPER_DEBUG": ""}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "epochs is 0" in said(done.stderr)
    assert not done.stdout


# --- what else may go wrong ---


@pytest.mark.parametrize("words", [["--debug", "plan", "fig9"], ["plan", "fig9"]], ids=["option", "variable"])
def test_the_traceback_is_shown_on_request_with_the_same_status(command, monkeypatch, words):
    if words[0] != "--debug":
        monkeypatch.setenv("LTHPAPER_DEBUG", "1")
    status, _, err = command(*words)
    assert status == 2
    assert "Traceback" in err
    assert err.strip().splitlines()[-1].startswith("lthpaper: Unknown figure 'fig9'")


INTERRUPTING = ["--set", "experiments=mlp/own_cli:interrupting"]


@pytest.mark.parametrize(
    "words",
    [["check", "mlp", "--on", "own_cli:interrupting"], ["run", "fig1", *INTERRUPTING]],
    ids=lambda words: words[0],
)
def test_an_interrupt_of_a_training_says_that_results_are_kept(command, words):
    status, _, err = command(*words)
    assert status == 130
    assert "finished results are kept" in said(err)


@pytest.mark.parametrize(
    "words",
    [["check", "mlp", "--on", "own_cli:interrupting", "--plan"], ["plan", "fig1", *INTERRUPTING]],
    ids=lambda words: words[0],
)
def test_an_interrupt_of_what_trains_nothing_promises_no_results(command, words):
    status, _, err = command(*words)
    assert status == 130
    assert "kept" not in said(err)
    assert "run it again to start it anew" in said(err)


def test_a_full_disk_is_one_sentence_that_names_the_file(command):
    status, _, err = command("check", "mlp", "--on", "own_cli:on_a_full_disk")
    assert status == 2
    assert "shard-0007.bin" in said(err)
    assert os.strerror(errno.ENOSPC) in err


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EEXIST, errno.ENOENT]
)
def test_a_place_that_cannot_be_written_is_named(code):
    sentence, status = cli._sentence(OSError(code, os.strerror(code), "results/figures"))
    assert "results/figures" in sentence
    assert os.strerror(code) in sentence
    assert status == 2


def test_an_error_that_says_nothing_to_a_user_keeps_its_traceback(project, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lthpaper", "check", "mlp", "--on", "own_cli:with_a_bug"])
    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
        cli.main()


def test_a_failed_training_is_a_sentence_and_a_log(project):
    log = "Traceback (most recent call last):\n  somewhere\nLookupError: no such layer\n"
    sentence, status = cli._sentence(WorkFailed(log))
    assert status == 1
    assert "LookupError: no such layer" in said(f"lthpaper: {sentence}")
    assert (project / "runs" / "failed-training.log").read_text() == log
    assert str(project / "runs" / "failed-training.log") in sentence


def test_a_run_that_failed_is_said_with_its_own_log(project):
    error = WorkFailed("Traceback\nLookupError: no such layer\n")
    error.log = "kept/.logs/a-run.log"
    assert "The log is kept/.logs/a-run.log;" in cli._sentence(error)[0]
    assert not (project / "runs" / "failed-training.log").exists()


def test_the_log_of_a_failed_training_is_shown_where_it_cannot_be_kept(project):
    (project / "runs").write_text("a file where a folder should be")
    assert "  somewhere\n" in cli._sentence(WorkFailed("Traceback\n  somewhere\nLookupError: x\n"))[0]


def test_bad_input_from_a_worker_is_bad_input():
    assert cli._sentence(InputError("epochs is 0.")) == ("epochs is 0.", 2)
