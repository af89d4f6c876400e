"""The `kvm` accelerator's vCPU side."""
