"""Projects: opening and reading attributions and analyses."""
