"""What later work states about tickets, each statement in our words with its source; the last is our own."""

from lthpaper.paper import Claim

FOLLOW_UPS = (
    Claim(
        "F1",
        "Random masks with the right share of weights in every layer do as well as masks made at "
        "initialisation.",
        "Su et al. 2020, arXiv 2009.11094",
    ),
    Claim(
        "F2",
        "Shuffling a mask made at initialisation (magnitude, SNIP, GraSP, SynFlow) within its layers "
        "costs nothing.",
        "Frankle et al. 2021, arXiv 2009.08576",
    ),
    Claim(
        "F3",
        "Shuffling the mask of magnitude pruning after training within its layers hurts.",
        "Frankle et al. 2021, arXiv 2009.08576",
    ),
    Claim(
        "F4",
        "A random mask with Erdős–Rényi shares of the layers is as good as the dense network if that "
        "is wide.",
        "Liu et al. 2022, arXiv 2202.02643",
    ),
    Claim(
        "F5",
        "Of a ticket's start the signs matter and the magnitudes hardly do.",
        "Zhou et al. 2019, arXiv 1905.01067",
    ),
    Claim(
        "F6",
        "From another start a mask trains better with its units permuted to that start's basin, "
        "nearly as well as the ticket.",
        "Adnan et al. 2025, arXiv 2505.05143",
    ),
    Claim(
        "F7",
        "A subnetwork matches the dense network where the dense network's training is stable to the "
        "order of the data, and only there.",
        "after Frankle et al. 2020, arXiv 1912.05671",
    ),
    Claim(
        "F8",
        "At small learning rates the larger norms of a ticket's start hide part of its worth; at "
        "large ones they do not matter.",
        "this project",
    ),
)
