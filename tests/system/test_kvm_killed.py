"""A killed user of `mpvm.kvm` leaves nothing: its vCPUs' processes, sockets and segments go with it."""

import signal
import subprocess
import sys

from tests.system.runner import Launcher

_SCRIPT = """
import os, signal
from mpvm import kvm
system = kvm.open("unicorn", processes=True)
vms = [system.create_vm(), system.create_vm()]
for vm in vms:
    memory = vm.allocate_memory(0x1000)
    memory.write(0xFF0, bytes.fromhex("e6 10 eb fe"))
    vm.set_user_memory_region(slot=0, flags=0, gpa=0xFFFFF000, size=0x1000, address=memory.address)
    assert vm.create_vcpu(0).run() == kvm.ExitReason.IO
print(*(name for name in os.listdir("/dev/shm") if name.startswith(f"mpvm-{os.getpid()}-")), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_script_leaves_none_of_its_vms(launch: Launcher) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=launch.environment, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    segments = done.stdout.split()
    assert len(segments) == 4
    launch.remember(int(segments[0].split("-")[1]))
    assert launch.leftovers() == []
