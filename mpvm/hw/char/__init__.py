"""Character devices, and the UART and debug console in front of them."""
