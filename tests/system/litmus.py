"""The litmus guests (tests/guests/litmus): on mpvm, on the reference, and with late steps in the engine core.

    python -m tests.system.litmus --seconds 600              all guests in turn, with ever more rounds
    python -m tests.system.litmus --seconds 600 --late       each run late at other steps (docs/coherence.md)
    python -m tests.system.litmus --seconds 60 --on reference --guest order --smp 4

Ends with status 1 if a run failed; its console is printed, with what repeats it.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from mpvm.guests.build import build_all, folders
from tests.system import debian, reference
from tests.system.runner import Launcher, Run, launcher

SOURCES = debian.REPOSITORY / "tests" / "guests"
LITMUS = sorted(folders(SOURCES / "litmus"))

PASSED = 33  # tests/guests/README.md
FAILED = 35
_MEMORY = "128M"
_ROUNDS_MAX = 1 << 20

#: What the SDM promises and QEMU 7.2 does not hold; the guests' sources say why.
STRICT = "strict=1 race=1"


def guest_images() -> dict[str, Path]:
    """The built test guests by name; xdist's workers build them once, one after the other."""
    folder = debian.cache_folder() / "guests"
    with debian.locked(folder):
        return {image.stem: image for image in build_all(SOURCES, folder)}


def late_core(folder: Path, sources: Path = debian.REPOSITORY) -> Path:
    """Build the engine core of `sources`, with steps that can come late, in `folder`; its path."""
    build = ("build_native", "--build-lib", str(folder), "--build-temp", str(folder / "objects"))
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", *build],
        cwd=sources,
        env={**os.environ, "CC": f"{os.environ.get('CC', 'cc')} -DMPVM_DELAYS"},
        check=True,
    )
    return folder / "workers" / "engine" / "libmpvm-engine.so"


def late(core: Path, steps: str) -> dict[str, str]:
    """The environment in which workers load `core` and are late as `steps` says (docs/coherence.md)."""
    return {"MPVM_ENGINE": str(core), "MPVM_DELAYS": steps}


def on_mpvm(
    launch: Launcher,
    image: Path,
    smp: int,
    command_line: str = "",
    *,
    seconds: int = 400,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a guest to its end, for at most so many `seconds`."""
    launch.environment.update(environment or {})
    options = ["--quiet", "--isa-debug-exit", "--smp", str(smp), "--timeout", str(seconds)]
    return launch.run("run", *options, "--append", f"{STRICT} {command_line}", "--kernel", image)


def on_reference(image: Path, smp: int, command_line: str = "", *, seconds: int = 400) -> Run:
    """Run a guest to its end on the reference; status 124 when it takes longer."""
    options = (*reference.ISA_DEBUG_EXIT, *reference.image(image, append=command_line))
    return reference.run(smp, _MEMORY, *options, seconds=seconds)


def main() -> int:
    """Run as long as asked and say what was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=600, metavar="N")
    parser.add_argument("--guest", nargs="+", choices=LITMUS, default=LITMUS)
    parser.add_argument("--smp", nargs="+", type=int, default=[2, 4, 8], metavar="N")
    parser.add_argument("--on", choices=("mpvm", "reference"), default="mpvm")
    parser.add_argument("--late", action="store_true", help="each run late at other steps")
    parser.add_argument("--run-seconds", type=int, default=20, metavar="N", help="a run's length")
    arguments = parser.parse_args()
    images = guest_images()
    times = {(guest, smp): 1 for smp in arguments.smp for guest in arguments.guest}
    runs = failed = 0
    with tempfile.TemporaryDirectory(prefix="mpvm-core-") as folder:
        core = late_core(Path(folder)) if arguments.late else None
        end = time.monotonic() + arguments.seconds
        for seed, (guest, smp) in enumerate(itertools.cycle(times)):
            if time.monotonic() >= end:
                break
            image, command_line = images[f"litmus-{guest}"], f"times={times[guest, smp]}"
            what = f"{guest}: {smp} CPUs, {command_line}" + (f", MPVM_DELAYS={seed}" if core else "")
            print(what, end="", flush=True)
            started = time.monotonic()
            if arguments.on == "reference":
                run = on_reference(image, smp, command_line)
            else:
                with launcher() as one:
                    environment = late(core, str(seed)) if core else None
                    run = on_mpvm(one, image, smp, command_line, environment=environment)
            took = time.monotonic() - started
            print(f": {took:.1f} s: {'right' if run.status == PASSED else 'WRONG'}", flush=True)
            runs += 1
            if run.status != PASSED:
                failed += 1
                print(run)
            elif took < arguments.run_seconds / 2:
                times[guest, smp] = min(times[guest, smp] * 2, _ROUNDS_MAX)
            elif took > arguments.run_seconds * 2:
                times[guest, smp] = max(times[guest, smp] // 2, 1)
    print(f"{runs - failed} of {runs} runs were right")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
