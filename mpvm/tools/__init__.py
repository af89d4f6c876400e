"""What looks at a running VM: monitor, gdbstub, trace, statistics, snapshots."""
