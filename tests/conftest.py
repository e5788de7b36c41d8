"""What every test starts from: one thread, no one's environment variables, properties that repeat."""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

os.environ.setdefault("MPLBACKEND", "Agg")  # before matplotlib is imported: no test opens a window

import pytest
import torch

if TYPE_CHECKING:
    from lthpaper.store.store import Store

torch.set_num_threads(1)  # the tests run side by side

try:
    from hypothesis import settings
except ImportError:  # a GPU's machine may have no more than the tests of tests/training/test_cuda.py need
    pass
else:
    settings.register_profile("lthpaper", max_examples=40, deadline=None, derandomize=True)
    settings.load_profile("lthpaper")


SETTINGS = ("LTHPAPER_", "SLURM_", "TORCHELASTIC_")
OF_TESTS = ("LTHPAPER_TEST_DATA", "LTHPAPER_OPEN_LTH", "LTHPAPER_FUZZ_EXAMPLES", "LTHPAPER_SCREENSHOTS")


@pytest.fixture(autouse=True, scope="session")  # before the fixtures of a module
def _no_settings_of_the_user(tmp_path_factory) -> Iterator[None]:
    """A store, data folder or cache of the user must not be read or written by a test, nor anything be
    downloaded, checked or requeued since the user has said so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        for name in [n for n in os.environ if n.startswith(SETTINGS) and n not in OF_TESTS]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _no_folders_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data` sets LTHPAPER_DATA for its process."""
    for name in ("LTHPAPER_STORE", "LTHPAPER_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path) -> "Store":
    """An empty one of the test's own."""
    from lthpaper.store.store import Store

    return Store(tmp_path / "store")


@pytest.fixture
def other(tmp_path) -> "Store":
    """A second one, beside it."""
    from lthpaper.store.store import Store

    return Store(tmp_path / "other")


@pytest.fixture
def in_a_folder_of_the_test(tmp_path, monkeypatch) -> None:
    """Commands run where the test's files are, in a wide terminal; sys.path comes back."""
    monkeypatch.setenv("COLUMNS", "300")  # of tables
    monkeypatch.chdir(tmp_path)  # its `results`, if any, is the published layer
    monkeypatch.setattr(sys, "path", list(sys.path))
