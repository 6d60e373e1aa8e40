"""Panels: values in one table, wired by one function."""
