"""IOMMUs: what stands between devices and memory, and between their interrupts and the local APICs."""
