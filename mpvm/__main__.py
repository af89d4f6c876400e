"""`python -m mpvm` is `mpvm`."""

import sys

from mpvm.cli.main import main

sys.exit(main())
