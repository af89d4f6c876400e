"""Which pages a guest has stored to: prints "[3]", then "[5, 6]", then "[]".

Run it with the arguments "kvm", "unicorn" or "unicorn processes".
"""

import sys

from mpvm import kvm

PAGES = 16
CODE = bytes.fromhex(
    "a2 08 30"  # mov %al, 0x3008
    "a0 00 40"  # mov 0x4000, %al
    "f4"  # hlt
    "a2 00 50"  # mov %al, 0x5000
    "a3 ff 5f"  # mov %ax, 0x5fff
    "f4"  # hlt
    "f4"  # hlt
)

system = kvm.open(*sys.argv[1:2], processes="processes" in sys.argv)
vm = system.create_vm()
memory = vm.allocate_memory(PAGES * 0x1000)
memory.write(0x1000, CODE)
vm.set_user_memory_region(0, kvm.MemFlag.LOG_DIRTY_PAGES, 0, PAGES * 0x1000, memory.address)
vcpu = vm.create_vcpu(0)
sregs = vcpu.get_sregs()
sregs.cs.base = sregs.cs.selector = 0
vcpu.set_sregs(sregs)
vcpu.set_regs(kvm.structs.Regs(rip=0x1000, rflags=2))

for _ in range(3):
    assert vcpu.run() == kvm.ExitReason.HLT
    log = int.from_bytes(vm.get_dirty_log(0, PAGES), "little")
    print([page for page in range(PAGES) if log >> page & 1])
for handle in (vcpu, vm, system):
    handle.close()
