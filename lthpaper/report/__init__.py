"""Notebooks in batch: executed by papermill, several at once, each in a process."""
