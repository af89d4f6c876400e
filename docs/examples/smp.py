"""Two vCPUs, each run by a thread of its own, count in one word by LOCK: prints "200000".

Run it with the arguments "kvm", "unicorn" or "unicorn processes".
"""

import sys
import threading

from mpvm import kvm

CODE = bytes.fromhex(
    "66 b9 a0 86 01 00"  # mov $100000, %ecx
    "f0 66 ff 06 00 20"  # again: lock incl 0x2000
    "66 49"  # dec %ecx
    "75 f6"  # jnz again
    "f4"  # hlt
)

system = kvm.open(*sys.argv[1:2], processes="processes" in sys.argv)
vm = system.create_vm()
memory = vm.allocate_memory(0x10000)
memory.write(0x1000, CODE)
vm.set_user_memory_region(0, 0, 0, 0x10000, memory.address)


def start(number):
    """A vCPU in real mode, and the thread that runs it."""
    vcpu = vm.create_vcpu(number)
    sregs = vcpu.get_sregs()
    sregs.cs.base = sregs.cs.selector = 0
    vcpu.set_sregs(sregs)
    vcpu.set_regs(kvm.structs.Regs(rip=0x1000, rflags=2))
    thread = threading.Thread(target=vcpu.run)
    thread.start()
    return vcpu, thread


started = [start(number) for number in range(2)]
for vcpu, thread in started:
    thread.join()
    assert vcpu.kvm_run.exit_reason == kvm.ExitReason.HLT
    vcpu.close()
print(int.from_bytes(memory.read(0x2000, 4), "little"))
vm.close()
system.close()
