"""Guest RAM, memory slots, and the address spaces (memory and port I/O) that devices are mapped into."""
