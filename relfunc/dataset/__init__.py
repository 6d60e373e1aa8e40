"""Datasets: attributions of many samples, streamed to files."""
