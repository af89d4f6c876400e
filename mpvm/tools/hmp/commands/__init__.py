"""The commands, one file a subject. Importing the package registers those of every file in it."""

import importlib
from pathlib import Path

for _file in sorted(Path(__file__).parent.glob("[a-z]*.py")):
    importlib.import_module(f"{__name__}.{_file.stem}")
