"""Training: packs of runs become results. It reads no store and knows no order of runs."""
