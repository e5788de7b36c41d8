"""lthpaper: the sanity checks for lottery tickets of Ma et al. (NeurIPS 2021), as values.

A Run describes one training; `sweep.execute` trains what a list of runs still lacks; a figure draws
the table of their results.
"""

__version__ = "0.1.0"
