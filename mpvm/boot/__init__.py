"""Boot protocols: each turns an image into guest memory plus a first CPU state."""
