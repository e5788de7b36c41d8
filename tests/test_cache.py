"""A file of the cache is whole or absent, whoever else writes it."""

import errno
from pathlib import Path

import pytest

from lthpaper import cache


@pytest.fixture(scope="module")
def place_of_a_module() -> Path:
    return cache.place("kept.json")


def test_not_even_the_fixtures_of_a_module_use_the_cache_of_whoever_tests(
    place_of_a_module, tmp_path_factory
):
    assert tmp_path_factory.getbasetemp() in place_of_a_module.parents


def test_who_writes_the_same_file_at_once_has_a_draft_of_its_own_and_none_is_left(tmp_path):
    file = tmp_path / "kept.json"

    def write(draft: Path) -> None:
        draft.write_text("ours")
        cache.keep(file, lambda theirs: theirs.write_text("theirs"))  # on another machine, by an equal pid
        assert draft.read_text() == "ours"

    def fill(draft: Path) -> None:
        draft.write_text("half")
        raise OSError(errno.ENOSPC, "no space is left")

    for writing in (write, fill):
        cache.keep(file, writing)
        assert file.read_text() == "ours"
        assert list(tmp_path.iterdir()) == [file]
