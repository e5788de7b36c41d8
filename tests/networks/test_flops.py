"""Operations are counted by the products that a forward pass makes, whatever layers make them."""

import torch
from torch import nn

from lthpaper import networks
from lthpaper.networks.flops import products
from lthpaper.runs.task import Task
from lthpaper.sweep import flops


class Rows(nn.Module):
    """An 8×8 image as 8 channels of length 8."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(8, 4, 3, padding=1), nn.Conv1d(4, 10, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(images[:, 0])).flatten(1)


def test_convolutions_of_one_dimension_count_and_the_first_layer_needs_no_gradient_of_its_inputs():
    first, second = 2 * 8 * 4 * 3 * 8, 2 * 4 * 10 * 8 * 1
    assert [p.flops for p in products(Rows(), (1, 8, 8))] == [first, second]
    task = Task(networks.local(Rows), "digits")
    assert flops.per_image(task) == (2 * first + 3 * second, 4 * 8 + 10)
    assert flops.layers(task) == 2


def test_a_network_without_products_has_no_operations():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(10))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.weight.expand(len(images), 10)

    assert products(Constant(), (1, 8, 8)) == []
    assert flops.per_image(Task(networks.local(Constant), "digits")) == (0, 0)
