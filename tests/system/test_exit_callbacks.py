"""`VirtualMachine.on_exit` under a guest: a program of its own, as a user writes one."""

import json
import subprocess
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from tests.system.debian import REPOSITORY
from tests.system.runner import Launcher

_PROGRAM = """
import collections, json, sys
from pathlib import Path
from mpvm.abi.errors import MpvmError
from mpvm.abi.exits import ExitReason
from mpvm.config import Override, load_config
from mpvm.coordinator.main import run
from mpvm.coordinator.vm import VirtualMachine

overrides = [Override("machine.smp", 2, "test"), Override("timeout", 200, "test"), *MORE]
vm = VirtualMachine(load_config(Path("configs/4cpu.yaml"), overrides))
seen = collections.Counter()

def count(exit_):
    seen[f"{exit_.reason.name} {exit_.vcpu}"] += 1

ATTACH
try:
    outcome = run(vm)
except MpvmError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_status)
print(json.dumps(seen), file=sys.stderr)
sys.exit(outcome.status)
"""


def run(
    launch: Launcher, attach: str, options: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """The program with `attach` in it; `options` are the configuration's."""
    more = ", ".join(f'Override("{name}", "{value}", "test")' for name, value in options.items())
    program = _PROGRAM.replace("ATTACH", attach).replace("MORE", f"[{more}]")
    return subprocess.run(
        [sys.executable, "-c", program],
        env=launch.environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_callbacks_see_both_vcpus_and_the_guest_does_not_notice(launch: Launcher) -> None:
    done = run(
        launch,
        """
vm.on_exit(ExitReason.CPUID, count)
vm.on_exit(ExitReason.CR_ACCESS, count)
def once(exit_):
    count(exit_)
    exit_.remove()
vm.on_exit(ExitReason.PAUSE, once)
vm.on_exit(ExitReason.IO, count, only=range(0x3F8, 0x400))
""",
    )
    assert done.returncode == 0, done.stderr
    assert "all sums exact" in done.stdout
    seen: dict[str, Any] = json.loads(done.stderr)
    assert {"CPUID 0", "CPUID 1", "CR_ACCESS 0", "CR_ACCESS 1", "IO 0"} <= set(seen)
    # It removes itself as soon as the vCPUs are paused; the other one may be in its exit by then.
    assert seen.get("PAUSE 0", 0) + seen.get("PAUSE 1", 0) >= 1


def test_a_callback_that_fails_ends_the_run_with_one_line(launch: Launcher) -> None:
    done = run(launch, "vm.on_exit(ExitReason.CPUID, lambda exit_: 1 // 0)")
    assert done.returncode == 8
    line = "vCPU 0: the callback <lambda> for CPUID failed: ZeroDivisionError: "
    assert done.stderr.splitlines()[-1].startswith(line)


# KVM that emulates is slow.
_KVM: Final = {"machine.accel": "kvm", "boot.append": "rounds=1 primes=50 locks=50 adds=50"}


def test_callbacks_see_what_kvm_can_make_exit(launch: Launcher, host_kvm: None) -> None:
    done = run(
        launch,
        """
vm.on_exit(ExitReason.X86_WRMSR, count, only={0xC0000080})
vm.on_exit(ExitReason.IO, count, only={0x3F8})
""",
        _KVM,
    )
    assert done.returncode == 0, done.stderr
    assert "all sums exact" in done.stdout
    assert {"X86_WRMSR 0", "X86_WRMSR 1", "IO 0"} <= set(json.loads(done.stderr))


def test_what_kvm_can_not_make_exit_ends_the_run_with_one_line(launch: Launcher, host_kvm: None) -> None:
    done = run(launch, "vm.on_exit(ExitReason.CPUID, count)", _KVM)
    assert done.returncode != 0
    line = "accelerator kvm has no CPUID_EXITING: KVM serves it in the kernel"
    assert done.stderr.splitlines()[-1].endswith(line)
