"""A name finds its thing; a new file in the package is enough; a broken one is never passed over."""

import sys

import pytest

from lthpaper.data import SOURCES
from lthpaper.errors import InputError
from lthpaper.networks import NETWORKS
from lthpaper.registry import Registry
from lthpaper.runs import pruning

REGISTRIES = [pruning.RULES, NETWORKS, SOURCES]


@pytest.fixture
def plants(tmp_path, monkeypatch):
    """An empty package `plants` with a registry; returns (registry, write a module)."""
    package = tmp_path / "plants"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from lthpaper.registry import Registry\nPLANTS = Registry('plant', 'plants')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import plants

    yield plants.PLANTS, lambda name, text: (package / f"{name}.py").write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] == "plants"]:
        del sys.modules[name]


def module(name: str) -> str:
    return f"from plants import PLANTS\n@PLANTS.register({name!r})\ndef {name}():\n    return {name!r}\n"


def test_a_new_file_is_all_that_a_new_thing_takes(plants):
    registry, write = plants
    write("one", module("rose"))
    write("two", module("oak"))
    assert sorted(registry) == ["oak", "rose"]
    assert len(registry) == 2
    assert registry["rose"]() == "rose"
    assert "elm" not in registry


def test_one_name_for_two_things_is_an_error(plants):
    registry, write = plants
    write("one", module("rose"))
    write("two", module("rose"))
    with pytest.raises(ValueError, match="plant 'rose' is registered twice"):
        list(registry)


def test_a_module_that_cannot_be_imported_is_reported_every_time(plants):
    registry, write = plants
    write("a", module("rose"))
    write("b", module("oak") + "raise ImportError('no soil')\n")
    for _ in range(3):  # never an incomplete registry that calls the rest unknown
        with pytest.raises(ImportError, match="no soil"):
            registry["rose"]
    write("b", module("oak"))
    assert sorted(registry) == ["oak", "rose"]


def test_a_module_may_look_into_the_registry_while_it_is_imported(plants):
    registry, write = plants
    write("a", module("rose"))
    write("b", module("oak") + "assert 'rose' in PLANTS\n")
    assert sorted(registry) == ["oak", "rose"]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.what)
def test_an_unknown_name_is_answered_with_the_known_ones(registry: Registry):
    name = sorted(registry)[0]
    with pytest.raises(InputError) as refused:
        registry[f"{name}x"]
    assert str(refused.value).startswith(f"Unknown {registry.what} '{name}x'. Did you mean '{name}'?")
    assert all(known in str(refused.value) for known in registry)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.what)
def test_a_name_unlike_any_other_gets_no_suggestion(registry: Registry):
    with pytest.raises(InputError, match=f"Unknown {registry.what} '§§§'. Known: .*{registry.own}"):
        registry["§§§"]
