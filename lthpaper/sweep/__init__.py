"""From a list of runs to their results: the plan, its order, what executes it, speeds and predictions."""
