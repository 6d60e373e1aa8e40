"""Dataset-wide analysis of attributions."""
