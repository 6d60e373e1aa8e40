"""The engine: runs plans, category by category, and keeps what it computed."""
