"""The `unicorn` accelerator's vCPU side."""
