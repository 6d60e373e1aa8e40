"""Graphs: from a module to a canonical graph of functions, and what is proved of it."""
