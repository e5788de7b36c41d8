"""A file of the cache is whole or absent, whoever else writes it."""

import errno
from pathlib import Path

from lthpaper import cache


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
