"""What a measurement leaves: results, and on what they were taken. As JSON, to be read and put together."""

import dataclasses
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import mpvm
from benchmarks.results import Result
from tests.system import reference

VERSION = 1


@dataclass(frozen=True)
class Document:
    """`host` is what `describe_host` says, `settings` how was measured, `failures` a text each."""

    results: Sequence[Result]
    failures: Sequence[str]
    host: dict[str, Any]
    settings: dict[str, Any]

    def to_json(self) -> str:
        """All values, with their ratios for those who read them elsewhere."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        rows = [{**dataclasses.asdict(result), "ratio": result.ratio} for result in self.results]
        return json.dumps({"version": VERSION, **fields, "results": rows}, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Of what `to_json` gave. ValueError when it is none, or another version's."""
        fields = json.loads(text)
        version = fields.pop("version", None)
        if version != VERSION:
            raise ValueError(f"version {version} of the results: {VERSION} is right")
        for row in fields["results"]:
            del row["ratio"]
        fields["results"] = [Result(**row) for row in fields["results"]]
        return cls(**fields)


def merge(documents: Sequence[Document]) -> Document:
    """The values of all; one result a row and number of vCPUs. The first one's host and settings."""
    merged: dict[tuple[str, int], Result] = {}
    for document in documents:
        for result in document.results:
            known = merged.setdefault((result.name, result.smp), dataclasses.replace(result, values={}))
            for contender, values in result.values.items():
                known.values.setdefault(contender, []).extend(values)
    failures = [failure for document in documents for failure in document.failures]
    return dataclasses.replace(documents[0], results=list(merged.values()), failures=failures)


def describe_host() -> dict[str, Any]:
    """What a figure means nothing without."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "mpvm": mpvm.__version__,
        "qemu": _qemu_version(),
        "load": os.getloadavg()[0],
    }


def _qemu_version() -> str | None:
    if shutil.which(reference.PROGRAM) is None:
        return None
    told = subprocess.run([reference.PROGRAM, "--version"], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()[0]


def _processor() -> str:
    with Path("/proc/cpuinfo").open() as info:
        names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return names[0] if names else platform.machine()
