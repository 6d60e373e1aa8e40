"""A report of an analysis: one page for whoever was not there, and the evidence that it shows, as a file."""
