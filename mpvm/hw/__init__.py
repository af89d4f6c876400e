"""Devices: state machines with registers, IRQ lines as outputs and a clock as input."""
