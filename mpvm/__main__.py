"""`python -m mpvm` is `mpvm`."""

import signal

# Until a run has handlers of its own, Ctrl-C ends the process and prints no traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys  # noqa: E402

from mpvm.cli.main import main  # noqa: E402

sys.exit(main())
