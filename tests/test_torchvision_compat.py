"""torchvision's own operators are loaded before ours are declared, whatever its binary part is called."""

import importlib.machinery
import importlib.util
from types import SimpleNamespace

import pytest
import torch

from lthpaper import torchvision_compat
from lthpaper.errors import InputError


@pytest.mark.parametrize("name", ["_C.so", "_C_stable.so", "_C.cpython-311-x86_64-linux-gnu.so"])
def test_the_binary_part_is_found_by_each_of_its_names(tmp_path, monkeypatch, name):
    for file in (name, "_Cache.txt", "image.so", "__init__.py"):
        (tmp_path / file).touch()
    monkeypatch.setattr(
        importlib.machinery, "EXTENSION_SUFFIXES", [".cpython-311-x86_64-linux-gnu.so", ".so"]
    )
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: found)
    loaded = []
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    torchvision_compat._load_binary_part()
    assert [path.name for path in loaded] == [name]


def test_one_that_was_built_for_another_torch_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "_C.so").write_text("not a library")
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: found)
    tried = []

    def load(path):
        tried.append(path.name)
        return load_library(path)

    load_library = torch.ops.load_library
    monkeypatch.setattr(torch.ops, "load_library", load)
    torchvision_compat._load_binary_part()  # the loader's OSError goes no further
    assert tried == ["_C.so"]


def test_without_torchvision_the_sentence_says_which_release(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="install the release that matches the installed torch"):
        torchvision_compat._load_binary_part()
