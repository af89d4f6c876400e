"""The vCPU process: its main (`vcpu`), the accelerators' vCPU side, and the engine core in C."""
