"""The command `lthpaper`. Bad input ends in one sentence and status 2, never in a traceback."""

import errno
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from lthpaper.cli import check, claims, export, figures, lists, report, run, terminal
from lthpaper.cli.command import OWN, PAPER, REST, RESULTS, Commands, examples
from lthpaper.cli.notebooks import notebooks_app
from lthpaper.cli.results import results_app
from lthpaper.cli.store import store_app
from lthpaper.cli.ticket import ticket_app
from lthpaper.errors import InputError, require
from lthpaper.sweep import stopping
from lthpaper.sweep.executor import WorkFailed

START = ("figures --scale laptop --no-train", "check resnet8 --on digits --plan")
app = Commands(
    pretty_exceptions_enable=False,
    help="The sanity checks for lottery tickets (Ma et al., NeurIPS 2021): plan, train, draw.",
    epilog="Bad input exits with status 2 and one sentence; lthpaper --debug COMMAND shows the traceback. "
    "A command that a time limit or SIGTERM stopped cleanly exits with status 75; run it again to resume.\n\n"
    + examples(*START).replace("Examples:", "To start with (neither trains anything):"),
)
COMMANDS: dict[str, tuple[str, Callable[..., None]]] = {  # name -> heading in --help, command
    "figures": (PAPER, figures.figures),
    "report": (PAPER, report.report),
    "claims": (PAPER, claims.claims),
    "plan": (PAPER, run.plan),
    "run": (PAPER, run.run),
    "status": (PAPER, run.status),
    "check": (OWN, check.check),
    "export": (RESULTS, export.export),
    "list": (REST, lists.list_),
    "bench": (REST, run.bench),
}
EXAMPLES = {  # below the help of a command, a line each
    "plan": ("plan fig3 --scale paper", "plan fig1 fig3 --scale paper --on 8xh100 --price 2.5"),
    "run": ("run fig1 --scale laptop --time-limit 2h", "run fig1 --set network=vgg-small --set seeds=5"),
    "status": ("status", "status --watch --store runs/store"),
    "figures": ("figures", "figures fig1 table3 --scale laptop", "figures fig1 --set seeds=2"),
    "report": ("report", "report fig1 fig3 --scale laptop --out for-a-colleague.html"),
    "list": ("list figures", "list networks", "list runs --store runs/store"),
    "claims": ("claims --scale laptop",),
    "check": ("check resnet8 --on digits --plan", "check mynets:make --on mydata:load --data photos"),
    "export": ("export fig3 --scale laptop --to trackio", "export --to tensorboard --folder runs/events"),
    "bench": ("bench --quick", "bench --size vgg --device cuda"),
}
for name, (heading, command) in COMMANDS.items():
    app.command(name, epilog=examples(*EXAMPLES[name]), rich_help_panel=heading)(command)
app.add_typer(ticket_app, name="ticket", rich_help_panel=OWN)
app.add_typer(store_app, name="store", rich_help_panel=RESULTS)
app.add_typer(results_app, name="results", rich_help_panel=RESULTS)
app.add_typer(notebooks_app, name="notebooks", rich_help_panel=REST)
TORCHRUN = "TORCHELASTIC_RUN_ID"  # an environment variable of the processes that torchrun starts


def _version(asked: bool) -> None:
    """Print the versions that a bug report needs, without importing torch, and exit."""
    if asked:
        others = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "numpy"))
        print(f"lthpaper {metadata.version('lthpaper')} (Python {sys.version.split()[0]})\n{others}")
        raise typer.Exit()


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print versions and exit.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; as LTHPAPER_DEBUG=1 does.")
    ] = False,
) -> None:
    if debug:
        os.environ["LTHPAPER_DEBUG"] = "1"  # read by `main`, and inherited by other processes
    require(
        TORCHRUN not in os.environ or context.invoked_subcommand == "run",
        f"torchrun is for `lthpaper run`; start `lthpaper {context.invoked_subcommand}` without it.",
    )


NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
NOT_A_FOLDER = (
    errno.ENOENT,  # where no folder can be made, as below /proc
    *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL),
)


def _sentence(error: Exception) -> tuple[str, int]:
    """The message for a user and the exit status; "" if the error is a bug of ours."""
    if isinstance(error, InputError):
        return str(error), 2
    if isinstance(error, WorkFailed):
        return _failed_training(str(error), error.log), 1
    if not isinstance(error, OSError):
        return "", 1
    where = f"{error.filename or 'The disk'} cannot be used ({error.strerror})"
    if error.errno in NOT_WRITABLE:
        return f"{where}. Free some space or name a folder that can be read and written, and run again.", 2
    if error.errno in NOT_A_FOLDER and error.filename:
        return f"{where}; name another place for it.", 2
    return "", 1


def _failed_training(log: str, of_run: str) -> str:
    """The last line of a worker's traceback, and the path of the whole traceback. of_run: the log of the run
    that failed, if it is known which one did."""
    from lthpaper import locations

    path, last = locations.home() / "runs" / "failed-training.log", log.strip().rpartition("\n")[2]
    try:
        if not of_run:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(log)
    except OSError:  # print what cannot be written
        return f"A training failed: {last}\n{log}"
    where = of_run or path
    return f"A training failed: {last.rstrip('.')}. The log is {where}; every other result is in the store."


def _again() -> str:
    """This command, as the user would type it."""
    name = "python -m lthpaper" if Path(sys.argv[0]).name == "__main__.py" else "lthpaper"
    if TORCHRUN in os.environ:
        name = f"torchrun --nproc-per-node {os.environ['LOCAL_WORLD_SIZE']} -m lthpaper"
    return f"{name} {shlex.join(sys.argv[1:])}"


def _interrupted(words: list[str]) -> str:
    """What is true after Ctrl-C: runs that are trained are kept, everything else begins anew."""
    command = next((word for word in words if not word.startswith("-")), "")
    trains = command in ("run", "figures", "check") or "--train" in words
    if trains and not {"--plan", "--no-train"} & set(words):
        return "stopped; finished results are kept, the same command resumes."
    return "stopped before it was done; run it again to start it anew."


def main() -> None:
    """Entry point. Exit status: 2 for bad input, with one sentence; 1 for a failed training; 130 for an
    interrupt; 75 if it stopped cleanly before it was done."""
    terminal.show_anything()
    sys.path.insert(0, os.getcwd())  # for custom networks and data sets in the working directory
    together = TORCHRUN in os.environ
    try:
        if together:
            from lthpaper.sweep import torchrun

            torchrun.take_part(app)
        else:
            app()
    except stopping.Unfinished as unfinished:
        if not together or torchrun.speaks():
            terminal.complain(f"lthpaper: {unfinished} Resume with")
            print(f"  {_again()}", file=sys.stderr)  # on one line, to be copied
        raise SystemExit(stopping.STATUS) from None
    except (InputError, OSError, WorkFailed) as error:
        said, status = _sentence(error)
        if not said:
            raise
        if os.environ.get("LTHPAPER_DEBUG"):
            traceback.print_exc()
        if not together or torchrun.speaks():
            terminal.complain(f"lthpaper: {said}")
        raise SystemExit(status) from None
    except SystemExit as ended:  # typer turns an interrupt into this
        if ended.code == 130:
            terminal.complain(f"lthpaper: {_interrupted(sys.argv[1:])}")
        raise
