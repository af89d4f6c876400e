"""A benchmark's result as a table for people and as JSON for machines."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import MPVM, QEMU
from benchmarks.measure import Sample


@dataclass(frozen=True)
class Row:
    """One thing measured on every contender; `samples` by contender."""

    what: str
    smp: int
    samples: dict[str, Sample]

    @property
    def ratio(self) -> float | None:
        """Mpvm's median over QEMU's: below 1, mpvm is the faster."""
        if MPVM not in self.samples or QEMU not in self.samples:
            return None
        return self.samples[MPVM].median / self.samples[QEMU].median


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Medians with the extremes beside them, in seconds."""
    contenders = list(dict.fromkeys(contender for row in rows for contender in row.samples))
    table = Table(title=title, caption="seconds: median (lowest to highest)")
    table.add_column("what")
    for heading in ("vCPUs", *contenders, "mpvm / QEMU"):
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [_cell(row.samples.get(contender)) for contender in contenders]
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.what, str(row.smp), *cells, ratio)
    Console(file=sys.stdout, width=max(100, Console().width)).print(table)


def to_json(rows: Sequence[Row], **more: Any) -> str:
    """All samples, and on what they were taken."""
    plain = [{**dataclasses.asdict(row), "ratio": row.ratio} for row in rows]
    return json.dumps({"host": host(), **more, "rows": plain}, indent=2)


def host() -> dict[str, Any]:
    """What a figure means nothing without."""
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=False)
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "qemu": version.stdout.splitlines()[0] if version.returncode == 0 else None,
        "load": os.getloadavg()[0],
    }


def _cell(sample: Sample | None) -> str:
    return "" if sample is None else f"{sample.median:.3f} ({sample.low:.3f} to {sample.high:.3f})"


def _processor() -> str:
    with Path("/proc/cpuinfo").open() as info:
        names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return names[0] if names else platform.machine()
