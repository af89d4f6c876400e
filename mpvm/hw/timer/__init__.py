"""Timers: the 8254 PIT and the MC146818 real-time clock."""
