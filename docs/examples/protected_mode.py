"""A guest in 32-bit protected mode writes a greeting to port 0x3f8: prints "protected mode".

Run it with the arguments "kvm", "unicorn" or "unicorn processes".
"""

import sys

from mpvm import kvm

TEXT = b"protected mode\n\0"
CODE = bytes.fromhex(
    "be 00 20 00 00"  # mov $0x2000, %esi
    "66 ba f8 03"  # mov $0x3f8, %dx
    "ac"  # next: lods %al
    "84 c0"  # test %al, %al
    "74 03"  # je end
    "ee"  # out %al, (%dx)
    "eb f8"  # jmp next
    "f4"  # end: hlt
)

system = kvm.open(*sys.argv[1:2], processes="processes" in sys.argv)
vm = system.create_vm()
memory = vm.allocate_memory(0x10000)
memory.write(0x1000, CODE)
memory.write(0x2000, TEXT)
vm.set_user_memory_region(0, 0, 0, 0x10000, memory.address)

vcpu = vm.create_vcpu(0)
sregs = vcpu.get_sregs()
flat = kvm.structs.Segment(limit=0xFFFFFFFF, selector=8, type=11, present=1, db=1, s=1, g=1)
sregs.cs = flat
flat.type, flat.selector = 3, 16
sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat
sregs.cr0 |= 1  # PE
vcpu.set_sregs(sregs)
vcpu.set_regs(kvm.structs.Regs(rip=0x1000, rsp=0x8000, rflags=2))

while vcpu.run() == kvm.ExitReason.IO:
    print(chr(vcpu.mapping[vcpu.kvm_run.io.data_offset]), end="")
for handle in (vcpu, vm, system):
    handle.close()
