"""The object model: what types there are, by name."""
