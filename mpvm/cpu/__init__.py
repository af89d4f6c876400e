"""CPU models, CPUID, feature words and the reset state."""
