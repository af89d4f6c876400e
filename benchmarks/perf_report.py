"""From perf's data to tables of where the time went."""

import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

# What takes less of the samples is left out.
_LEAST = 0.01
_TRANSLATED = "translated code"


def report(data: Path) -> str:
    """What took more than 1 % of the samples in `data`: tables by library, and by library and function."""
    command = ["perf", "report", "--stdio", "--fields", "period,dso,symbol", "--field-separator", "\t"]
    told = subprocess.run([*command, "--input", str(data)], check=True, capture_output=True, text=True).stdout
    libraries, functions = add_up(told.splitlines())
    return "\n".join([*_table("library", libraries), "", *_table("library and function", functions)])


def add_up(lines: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """From perf's lines of period, library and symbol to the periods of each library, and of each function.

    The blocks of one guest function are one, on all vCPUs together.
    """
    libraries: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        period, library, symbol = (field.strip() for field in line.split("\t"))
        if library.startswith("[JIT] "):
            library = _TRANSLATED
            symbol = symbol.partition("+0x")[0]
        libraries[library] += int(period)
        functions[f"{library:24} {symbol}"] += int(period)
    return libraries, functions


def _table(title: str, periods: Counter[str]) -> list[str]:
    whole = periods.total()
    shares = [(name, period / whole) for name, period in periods.most_common() if period >= _LEAST * whole]
    return [f"-- {title}", *(f"{share:8.2%}  {name}" for name, share in shares)]
