"""Keys: what values, code and runs are worth, as digests that any process finds again."""
