"""`python -m mpvm` is `mpvm`."""

# The part of `signal` that is in the interpreter: the rest takes milliseconds to import, and a Ctrl-C in them
# a traceback.
import _signal

# Until a run has handlers of its own, Ctrl-C ends the process and prints no traceback.
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)

from mpvm.cli.main import process  # noqa: E402

process()
