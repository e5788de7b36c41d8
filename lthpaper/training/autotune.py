"""How runs train on this device: the largest pack and its form. Measured once on a GPU, and remembered.

On a CPU both are fixed, so results never depend on timing. On a GPU the best
convolution, layout and size of a pack depend on the network and on the libraries, and can only be measured:
each form trains a few steps on random images, in packs that double until they fill the memory or gain
nothing.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from lthpaper import cache, data
from lthpaper.data.noise import random_data
from lthpaper.memory import free
from lthpaper.networks import build_seeded, tensors
from lthpaper.provenance import device_name
from lthpaper.runs.run import Fresh, Run
from lthpaper.training.forms import Form, usual_form, why_not_stacked
from lthpaper.training.pack import Pack, repeatable
from lthpaper.training.process_group import ALONE, Alone
from lthpaper.training.result import Start

SHARE = 0.8  # of the memory that is free: what a pack may be predicted to take
GAIN = 1.05  # a doubled pack that is not this much faster is not worth its memory
LARGEST = 128
STEPS, WARM_UP = 10, 3
TEST_IMAGES = 500  # an evaluation's batch
SECONDS_WORTH_COMPILING = 600.0  # of training; it takes about a minute for each size of a pack
PLAIN_FORMS = [
    Form(stacked, last, graphed=True, parallel=parallel)
    for stacked, parallel in ((True, False), (False, False), (False, True))
    for last in (True, False)
]
ROUNDING = {"fp64": 1e-6, "fp32": 1e-3, "bf16": 5e-2}  # what forms may differ by in their first steps
VERSION = 3  # of what is remembered


class Unequal(RuntimeError):
    """A form computes something else than the plain one."""


@dataclass(frozen=True)
class Choice:
    """The form and the largest pack. tried: "form, pack" -> (images a second, bytes), if it was measured."""

    form: Form
    largest: int
    tried: Mapping[str, tuple[float, int]]

    def form_of(self, run: Run) -> Form:
        """The form for a run like this: compiled only where a full pack of it trains for long enough."""
        speed = self.tried.get(f"{self.form}, {self.largest}", (0.0, 0))[0]
        images = self.largest * run.cost * run.task.images
        if self.form.compiled and images < SECONDS_WORTH_COMPILING * speed:
            return replace(self.form, compiled=False)
        return self.form


def choose(run: Run, device: torch.device, team: Alone = ALONE) -> Choice:
    """How runs of this shape train on this device; raises what a first step raises.

    A team trains one large run, in a form that is no single process's choice.
    """
    if device.type != "cuda":
        return Choice(usual_form(device), 8 if _packs_on_a_cpu(run) and team is ALONE else 1, {})
    if team is not ALONE or data.card(run.task.data).streams:  # each run reads its own images
        return Choice(Form(channels_last=True), 1, {})
    recipe = run.recipe.with_(  # so small a rate that no step enlarges what forms round differently
        epochs=10**6,
        lr=1e-6,
        schedule="step",
        milestones=(),
        warmup_epochs=0.0,
        mixup=0.0,
        batch_size=run.recipe.micro_batch or run.recipe.batch_size,  # what one forward pass takes
        micro_batch=0,
    )
    return _remembered(run.with_(seed=0, init=Fresh(), mask=None, recipe=recipe), str(device))


def pack_limits(run: Run, device: torch.device) -> tuple[int, int]:
    """(smallest, largest) pack for runs of this shape.

    On a CPU small images gain from packing and large ones lose (docs/performance.md); and a
    convolution of one network takes another path than one of several, with other rounding. So that a
    run's bits do not depend on its pack, small images always train in packs of two or more (a lone run
    beside a copy of itself), large ones always alone.
    """
    return smallest_pack(run, device), choose(run, device).largest


def smallest_pack(run: Run, device: torch.device) -> int:
    """What a smaller pack is filled up to, with copies of its first run."""
    return 2 if device.type == "cpu" and _packs_on_a_cpu(run) else 1


def _packs_on_a_cpu(run: Run) -> bool:
    return data.card(run.task.data).size < 16


@lru_cache(maxsize=64)
def _remembered(run: Run, name: str) -> Choice:
    device = torch.device(name)
    key = repr((VERSION, device_name(device), torch.__version__, run.digest))
    known = cache.document(choices_file())
    if key not in known:
        with repeatable(device):
            memory = free(device)
            choice = measured(lambda form, k: _try(run, form, k, device), _forms(run), SHARE * memory)
        torch.cuda.empty_cache()  # what was tried leaves its memory to other processes
        if memory < 0.6 * torch.cuda.get_device_properties(device).total_memory:
            return choice  # others use the device now: not to be remembered
        known = cache.document(choices_file()) | {key: asdict(choice)}
        cache.keep_document(choices_file(), known)
    found = known[key]
    return Choice(Form(**found["form"]), found["largest"], found["tried"])


def _forms(run: Run) -> list[Form]:
    if why_not_stacked(run.task):
        return [Form(channels_last=last) for last in (True, False)]
    return PLAIN_FORMS


Try = Callable[[Form, int], tuple[float, int]]  # -> images a second of all networks, bytes at the most


def measured(attempt: Try, forms: list[Form], memory: float) -> Choice:
    """The fastest form and pack whose predicted bytes are within `memory`.

    A pack is tried only if what it will take, a line through the two sizes before it, fits: no pack is
    too large by trial. torch.compile is tried on the best form alone, since compiling takes a minute.
    """
    tried: dict[tuple[Form, int], tuple[float, int]] = {}
    failed: list[RuntimeError] = []

    def grow(form: Form, first: int) -> None:
        fastest = 0.0
        for pack in _doubling(first):
            if _predicted(tried, form, pack) > memory:
                return
            try:
                tried[form, pack] = attempt(form, pack)
            except RuntimeError as error:  # a library has no kernel for this form, or memory ran out
                failed.append(error.with_traceback(None))  # which would keep the pack and its memory
                if isinstance(error, Unequal):  # not to be trusted in smaller packs either
                    for smaller in _doubling(first):
                        tried.pop((form, smaller), None)
                return
            if tried[form, pack][0] < GAIN * fastest:
                return
            fastest = tried[form, pack][0]

    for form in forms:
        grow(form, 1)
    if not tried:
        raise failed[0]
    best, pack = max(tried, key=lambda found: tried[found][0])
    if best.graphed:
        fused = replace(best, compiled=True)
        with suppress(RuntimeError):  # no compiler on this machine, or an operation it does not know
            tried[fused, pack] = attempt(fused, pack)
            best = max((best, fused), key=lambda form: tried[form, pack][0])
    return Choice(best, pack, {f"{form}, {k}": speed for (form, k), speed in tried.items()})


def _doubling(first: int) -> Iterator[int]:
    return (first << i for i in range(int(math.log2(LARGEST / first)) + 1))


def _predicted(tried: Mapping[tuple[Form, int], tuple[float, int]], form: Form, pack: int) -> float:
    """Bytes that a pack will take, from the two halvings before it; 0 where nothing is known."""
    half, quarter = tried.get((form, pack // 2)), tried.get((form, pack // 4))
    if half is None:
        return 0.0
    if quarter is None:
        return 2.0 * half[1]
    return half[1] + (half[1] - quarter[1]) / (pack // 2 - pack // 4) * (pack - pack // 2)


def _try(run: Run, form: Form, k: int, device: torch.device) -> tuple[float, int]:
    """(images a second, most bytes) of a few steps of a pack of k. Raises RuntimeError if it cannot, Unequal
    if it computes something else than the plain form."""
    expected = _plainly(run, k, device)
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    pack = _pack(run, form, k, device)
    batches = pack.feed.batches(0, 0)
    found = _first_steps(pack, batches)
    if not torch.allclose(found, expected, rtol=ROUNDING[run.recipe.precision], atol=0, equal_nan=True):
        text = f"Networks do not compute in the form '{form}', in packs of {k}, what they compute alone"
        warnings.warn(f"{text}. The form is not used on this device.", stacklevel=2)
        raise Unequal(text)
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    for x, labels in batches:
        pack.step = 0
        pack.train_step(x, labels)
    torch.cuda.synchronize(device)
    speed = k * STEPS * run.recipe.batch_size / (time.perf_counter() - began)
    pack.evaluate()
    return speed, torch.cuda.max_memory_reserved(device) - before


def _pack(run: Run, form: Form, k: int, device: torch.device) -> Pack:
    weights = tensors(build_seeded(0, **run.task.shape))
    batches = (WARM_UP + STEPS) * run.recipe.batch_size
    images = random_data(data.card(run.task.data), batches, TEST_IMAGES)
    return Pack([run.with_(seed=i) for i in range(k)], [Start(weights, None)] * k, images, device, form)


def _first_steps(pack: Pack, batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """Each network's losses in the first steps, and how long its velocity is after them, (WARM_UP + 1, K)."""
    rows = []
    for x, labels in islice(batches, WARM_UP):
        pack.step = 0
        rows.append(pack.train_step(x, labels).clone())  # a recorded step writes the next losses there
    velocity = pack.optimizer.layout.views(pack.optimizer.velocity).values()
    lengths = torch.stack([own.view(len(own), -1).norm(dim=1) for own in velocity])
    return torch.stack([*rows, lengths.norm(dim=0)])


@lru_cache(maxsize=16)
def _plainly(run: Run, k: int, device: torch.device) -> Tensor:
    """The first steps of a pack that is computed network after network, neither compiled nor recorded."""
    pack = _pack(run, Form(stacked=False), k, device)
    return _first_steps(pack, pack.feed.batches(0, 0))


def choices_file() -> Path:
    """Where choices are remembered."""
    return cache.place("choices.json")
