"""A store maps a run to its result: entries, checks, merging, pruning, checkpoints, locks, transfer, logs."""
