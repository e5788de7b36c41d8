"""`--help` in a terminal of 80 columns: nothing is cut, prose is not ragged, no flag seems to take any."""

import re
import sys

import pytest
import typer
from command_lines import parse

from lthpaper.cli import main as cli
from lthpaper.cli.command import examples, prose

WIDTH = 80


def commands(group=None, words=()):
    """Every command's words: (), ("plan",), ("store",), ("store", "verify"), …"""
    group = group or typer.main.get_command(cli.app)
    yield words
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name)


@pytest.fixture
def shown(monkeypatch, capsys, tmp_path):
    """What `lthpaper … --help` prints in a terminal of WIDTH columns, without colours."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(words: tuple[str, ...]) -> str:
        monkeypatch.setattr(sys, "argv", ["lthpaper", *words, "--help"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    return run


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_nothing_is_cut_at_80_columns_and_no_flag_seems_to_take_a_value(shown, words):
    text = shown(words)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" not in text
    assert "<bool>" not in text


def test_options_stand_in_groups_and_none_is_lost(shown):
    text = shown(("check",))
    panels = re.findall(r"^╭─ (.+?) ─+╮$", text, re.MULTILINE)
    assert panels == [
        "Arguments",
        "Options",
        "What is checked",
        "Recipe",
        "Seeds until verdicts are decided",
        "Folders",
        "Machine",
    ]
    command = typer.main.get_command(cli.app).commands["check"]
    for option in (option for parameter in command.params for option in parameter.opts if "--" in option):
        assert re.search(rf"^│ {option} ", text, re.MULTILINE), option


def test_the_first_screen_groups_the_commands_and_says_how_to_start(shown):
    text = shown(())
    for heading in ("The paper", "Your own network", "Results", "Also"):
        assert f"╭─ {heading} ─" in text
    for line in cli.START:
        assert f"lthpaper {line}" in text
        parse(line)


@pytest.mark.parametrize(
    ("command", "parameter", "begun", "offered"),
    [
        ("plan", "figures", "fig", {"fig1", "fig2", "fig3", "fig4", "fig5", "fig6"}),
        ("status", "figures", "table3", {"table3"}),
        ("run", "scale", "", {"smoke", "laptop", "desktop", "paper"}),
    ],
)
def test_a_shell_completes_names_of_figures_and_scales(command, parameter, begun, offered):
    of = typer.main.get_command(cli.app).commands[command]
    (found,) = (p for p in of.params if p.name == parameter)
    context = of.make_context(command, [], resilient_parsing=True)
    assert {item.value for item in found.shell_complete(context, begun)} == offered


@pytest.mark.parametrize("words", [(), ("plan",), ("store", "verify")], ids=" ".join)
def test_a_single_letter_asks_for_help_too(shown, monkeypatch, capsys, words):
    text = shown(words)
    monkeypatch.setattr(sys, "argv", ["lthpaper", *words, "-h"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out) == text


def test_a_docstring_becomes_paragraphs_that_the_terminal_breaks():
    assert prose("One\n    line.\n\n    And a\n    second: `x`.\n    ") == "One line.\n\nAnd a second: `x`."
    assert prose(None) == ""
    assert examples("list") == "Example:\n  lthpaper list"
