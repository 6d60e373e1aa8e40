"""State: the one mutable object of a visit, and what it keeps."""
