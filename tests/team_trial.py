"""What each of two processes computes, for test_team.py: started by torchrun as `team_trial.py FOLDER`.

Saves what it trained in FOLDER/RANK.pt; then does the command of FOLDER/commands.json, each a list of words.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import torch
from plain_loop import batch, few_digits
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from lthpaper import networks
from lthpaper.data.augment import draws
from lthpaper.runs.recipe import Recipe
from lthpaper.runs.run import Run
from lthpaper.runs.settings import pretraining
from lthpaper.runs.task import Task
from lthpaper.training.loop import train
from lthpaper.training.process_group import Team
from lthpaper.training.result import Trained
from lthpaper.training.start import initial_weights

FEW = few_digits(train=70, test=40)  # of 16 images, the last batch of 6
EVEN = few_digits(train=64, test=40)
RECIPE = Recipe(epochs=2, lr=0.05, batch_size=16, milestones=(1,), micro_batch=8)
EXACT = RECIPE.with_(precision="fp64")
RECIPES = {
    "micro-batches": EXACT,
    "mixup": EXACT.with_(mixup=0.4, label_smoothing=0.1),
    "four parts": EXACT.with_(micro_batch=4),
    "fp32": RECIPE.with_(epochs=1, milestones=()),
}
TASK = Task("resnet8", "digits")


def run_of(name: str) -> Run:
    return pretraining(TASK, RECIPES[name], 3)


def distributed_data_parallel(run: Run) -> dict[str, Tensor]:
    """Weights of torch's own training: each process has its half of each batch."""
    recipe, card, rank = run.recipe, EVEN.card, dist.get_rank()
    network = networks.build_seeded(0, **run.task.shape)
    network.load_state_dict(initial_weights(run))
    network.double().train()
    parallel = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(
        parallel.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.milestones), recipe.gamma)
    half = recipe.batch_size // 2
    for epoch in range(recipe.epochs):
        order, shift, flip = draws(run.seed, epoch, len(EVEN.images.train), card.pad, card.flip)
        for first in range(half * rank, len(order), recipe.batch_size):
            mine = slice(first, first + half)
            x = batch(EVEN, order[mine], shift[mine], flip[mine])
            loss = nn.functional.cross_entropy(parallel(x), EVEN.images.train_labels[order[mine]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return {name: p.detach() for name, p in network.named_parameters()}


def trials() -> dict[str, object]:
    """Results by name: weights and curves of this process."""
    dist.init_process_group("gloo")
    team = Team()

    def together(run: Run, images) -> Trained:
        return next(train([run], images, team=team))

    found = {name: together(run_of(name), FEW) for name in RECIPES}
    saved: dict[str, object] = {name: (result.weights, result.curves) for name, result in found.items()}
    saved["even"] = together(run_of("micro-batches"), EVEN).weights
    saved["torch's own"] = distributed_data_parallel(run_of("micro-batches"))
    dist.destroy_process_group()
    return saved


def command(words: list[str], start: int) -> list[str]:
    """Do a command of lthpaper; returns what this process made, changed or removed in the command's store."""
    from lthpaper.cli.main import main

    os.environ["TORCHELASTIC_RESTART_COUNT"] = str(start)  # another group of the same processes
    sys.argv[1:] = words
    written.clear()
    with suppress(SystemExit):
        main()
    store = words[words.index("--store") + 1]
    return sorted({path for path in written if path.startswith(store)})


written: list[str] = []


def _watch(event: str, about: tuple) -> None:
    if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir") or (
        event == "open" and any(letter in str(about[1]) for letter in "wax+")
    ):
        written.append(str(about[0]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, rank = Path(sys.argv[1]), os.environ["RANK"]
    results = trials()
    sys.addaudithook(_watch)
    commands = json.loads((folder / "commands.json").read_text())
    results["written"] = [command(words, start) for start, words in enumerate(commands)]
    torch.save(results, folder / f"{rank}.pt")
