"""`python -m mpvm.cli.system` is `mpvm-system-x86_64`."""

from mpvm.cli.system.main import process

process()
