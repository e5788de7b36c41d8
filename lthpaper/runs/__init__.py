"""Runs are values: what a training is (run, task, recipe), the settings and scales that make runs, masks.

Nothing here trains, and nothing here loads code that does.
"""
