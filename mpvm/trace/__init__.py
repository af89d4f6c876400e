"""What a run tells of itself on request: log categories (QEMU's util/log.c) and trace events (its trace/).

Both write lines to one log, stderr or a file. All of it is off unless asked for, and then costs a test of
one variable, or, on hot paths, nothing: who makes an object asks once whether its event is on.
"""
