"""The PC's small ports: keyboard controller, A20, fast reset, test exit."""
