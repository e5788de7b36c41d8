"""The sanity checks for lottery tickets of Ma et al. (NeurIPS 2021), as values.

    import lthpaper as lth

    study = lth.study("fig3", scale="laptop", seeds=5)      # a figure; other fields as in the scale
    study.costs(); study.train(); study.draw(); study.findings()
    check = lth.check(make_my_network, data="digits")       # the same for a network of your own

    dense = lth.pretraining(lth.Task("resnet8", "digits"), lth.Recipe(epochs=20))
    ticket = lth.lt_imp(dense, rounds=8)                    # a run is a value: it describes a training
    (result,) = lth.train([ticket], lth.Store("runs/store"))

`dir(lth)` lists the names: studies and checks; the values (Task, Recipe, Run, Trial, Scale) and the functions
that make runs in the paper's settings; the store, plan and execution; the verdicts; and the modules data,
networks, paper and sliders. Each name is loaded when it is first used, so importing lthpaper is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

HOMES = {  # name -> the module that defines it
    **dict.fromkeys(("study", "Study", "train", "status"), "studies"),
    **dict.fromkeys(("check", "Check"), "checks"),
    "SanityCheck": "runs.sanity_check",
    "parameters": "report.parameters",
    "readable": "report.readable",
    "surface_viewer": "report.surface_viewer",
    "Task": "runs.task",
    "Recipe": "runs.recipe",
    **dict.fromkeys(("Run", "setting"), "runs.run"),
    **dict.fromkeys(("Scale", "scale"), "runs.scales"),
    "Topology": "runs.topology",
    **dict.fromkeys(
        (
            *("Trial", "pretraining", "lt_imp", "lt_omp", "random_reinit", "small_dense", "rewound"),
            *("rewound_rounds", "fine_tuned", "dynamic_sparse", "sanity_check", "imp_sparsity"),
        ),
        "runs.settings",
    ),
    **dict.fromkeys(("Store", "Result", "open_store"), "store.store"),
    **dict.fromkeys(("table", "curves", "layers"), "store.table"),
    "ticket": "store.ticket",
    "cost": "measures.cost",
    "speeds": "measures.speed",
    "execute": "sweep.execute",
    "plan": "sweep.plan",
    "verdict": "verdicts.tickets",
    "guideline": "verdicts.guideline",
    "InputError": "errors",
}
MODULES = {"data": "data", "networks": "networks", "paper": "paper", "sliders": "report.sliders"}

if TYPE_CHECKING:  # the same for type checkers and editors; a test compares the two
    from lthpaper import data, networks, paper
    from lthpaper.checks import Check, check
    from lthpaper.errors import InputError
    from lthpaper.measures.cost import cost
    from lthpaper.measures.speed import speeds
    from lthpaper.report import sliders
    from lthpaper.report.parameters import parameters
    from lthpaper.report.readable import readable
    from lthpaper.report.surface_viewer import surface_viewer
    from lthpaper.runs.recipe import Recipe
    from lthpaper.runs.run import Run, setting
    from lthpaper.runs.sanity_check import SanityCheck
    from lthpaper.runs.scales import Scale, scale
    from lthpaper.runs.settings import (
        Trial,
        dynamic_sparse,
        fine_tuned,
        imp_sparsity,
        lt_imp,
        lt_omp,
        pretraining,
        random_reinit,
        rewound,
        rewound_rounds,
        sanity_check,
        small_dense,
    )
    from lthpaper.runs.task import Task
    from lthpaper.runs.topology import Topology
    from lthpaper.store.store import Result, Store, open_store
    from lthpaper.store.table import curves, layers, table
    from lthpaper.store.ticket import ticket
    from lthpaper.studies import Study, status, study, train
    from lthpaper.sweep.execute import execute
    from lthpaper.sweep.plan import plan
    from lthpaper.verdicts.guideline import guideline
    from lthpaper.verdicts.tickets import verdict


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return import_module(f"lthpaper.{MODULES[name]}")
    if name not in HOMES:
        raise AttributeError(
            f"module 'lthpaper' has no attribute {name!r}; dir(lthpaper) lists what there is"
        )
    found = getattr(import_module(f"lthpaper.{HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*HOMES, *MODULES, "__version__", "__doc__"})
