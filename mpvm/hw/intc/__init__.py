"""Interrupt controllers: the 8259 pair, the I/O APIC, and the messages they send."""
