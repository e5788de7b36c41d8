"""Results for their readers: notebooks in batch, findings, sliders, the report, exports."""
