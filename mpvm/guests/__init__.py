"""Guests that are built into the package, as sources, and their build."""
