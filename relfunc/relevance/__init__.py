"""Relevance: from a graph and its rules to one program, and what it says."""
