"""What every test starts from: one thread, no one's environment variables, properties that repeat."""

import os
import sys
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


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> None:
    """A store or data folder that the user has named must not be read or written by a test, nor a cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
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
