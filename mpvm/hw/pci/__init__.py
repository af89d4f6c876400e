"""PCI: the configuration mechanism, the bus and its functions."""
