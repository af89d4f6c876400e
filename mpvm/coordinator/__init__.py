"""The coordinator: the event loop, the vCPUs' lives, dispatch of exits, the run state."""
