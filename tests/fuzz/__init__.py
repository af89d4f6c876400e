"""Property tests that throw random instructions at the engine and at the host's CPU."""
