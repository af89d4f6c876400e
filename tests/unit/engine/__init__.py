"""The C engine core, run in the test's own process on a few instructions at a time."""
