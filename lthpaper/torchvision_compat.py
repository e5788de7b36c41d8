"""Make torchvision importable beside a torch that its binary part was not built for.

When it is imported, torchvision's Python part registers functions for the operators nms and qnms. If its
binary part cannot be loaded (a CPU-only torch beside a CUDA build, for instance), these operators do not
exist and the import fails with "operator torchvision::nms does not exist". Data sets, transforms and models
need neither, so it is enough to declare the two signatures beforehand.
"""

import contextlib
import importlib.machinery
import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch

from lthpaper.errors import InputError

_SIGNATURES = {
    name: f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
}


def _load_binary_part() -> None:
    """Load torchvision's own operators if possible, before we declare ours: to declare one twice ends the
    process. The file is _C.so, and since torchvision 0.29 _C_stable.so.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None:
        raise InputError(
            "torchvision is not installed; install the release that matches the installed torch "
            f"({torch.__version__})."
        )
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    for folder in spec.submodule_search_locations or ():
        for binary in sorted(Path(folder).glob("_C*")):
            if binary.name.endswith(suffixes):
                with contextlib.suppress(OSError):  # built for another torch, which is why this module exists
                    torch.ops.load_library(binary)


@lru_cache(maxsize=1)
def _declared() -> torch.library.Library:
    """Declare the missing operators. The declarations live as long as the returned object."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, signature in _SIGNATURES.items():
        if not hasattr(torch.ops.torchvision, name):
            library.define(signature)
    return library


def make_importable() -> None:
    """Make a later `import torchvision`, ours or a user's, succeed. Raises InputError without torchvision."""
    if "torchvision" not in sys.modules:
        _load_binary_part()
        _declared()


def torchvision() -> ModuleType:
    """The torchvision module, with `datasets`, `models` and `transforms` (v2 too) imported.

    Raises InputError if it is not installed.
    """
    make_importable()
    import torchvision
    import torchvision.transforms.v2

    return torchvision
