"""A function counts a guest's CPUIDs and answers them itself: prints "2 times, EBX 42".

The kernel's KVM serves CPUID itself. Run it with the arguments "unicorn" or "unicorn processes".
"""

import sys
from typing import Any

from mpvm import kvm

CODE = bytes.fromhex("0f a2 0f a2 f4")  # cpuid; cpuid; hlt
times = 0


def answer(exit_: Any) -> None:
    """Called in front of each CPUID."""
    global times
    times += 1
    exit_.registers.rbx = 42
    exit_.skip()


system = kvm.open(*sys.argv[1:2], processes="processes" in sys.argv)
vm = system.create_vm()
memory = vm.allocate_memory(0x1000)
memory.write(0, CODE)
vm.set_user_memory_region(slot=0, flags=0, gpa=0x1000, size=0x1000, address=memory.address)
vm.on_exit(kvm.ExitReason.CPUID, answer)

vcpu = vm.create_vcpu(0)
sregs = vcpu.get_sregs()
sregs.cs.base = sregs.cs.selector = 0
vcpu.set_sregs(sregs)
vcpu.set_regs(kvm.structs.Regs(rip=0x1000, rflags=2))
assert vcpu.run() == kvm.ExitReason.HLT
print(f"{times} times, EBX {vcpu.get_regs().rbx}")
for handle in (vcpu, vm, system):
    handle.close()
