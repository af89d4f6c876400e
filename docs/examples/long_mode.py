"""A guest in 64-bit mode, with page tables that its maker has written: prints "42 in long mode".

Run it with the arguments "kvm", "unicorn" or "unicorn processes".
"""

import sys

from mpvm import kvm

PML4, PDPT, DIRECTORY, CODE_AT = 0x2000, 0x3000, 0x4000, 0x1000
CODE = bytes.fromhex(
    "48 b8 00 00 00 00 80 ff ff ff"  # mov $0xffffff8000000000, %rax: the same memory once more
    "8b 98 00 50 00 00"  # mov 0x5000(%rax), %ebx
    "48 8d 43 02"  # lea 2(%rbx), %rax
    "ba f8 03 00 00"  # mov $0x3f8, %edx
    "ee"  # out %al, (%dx)
    "f4"  # hlt
)

system = kvm.open(*sys.argv[1:2], processes="processes" in sys.argv)
vm = system.create_vm()
memory = vm.allocate_memory(0x200000)
memory.write(CODE_AT, CODE)
memory.write(0x5000, (40).to_bytes(4, "little"))
for table, index, entry in (
    (PML4, 0, PDPT | 3),
    (PML4, 511, PDPT | 3),
    (PDPT, 0, DIRECTORY | 3),
    (DIRECTORY, 0, 0x83),  # present, writable, 2 MiB
):
    memory.write(table + 8 * index, entry.to_bytes(8, "little"))
vm.set_user_memory_region(0, 0, 0, 0x200000, memory.address)

vcpu = vm.create_vcpu(0)
vcpu.set_cpuid2(system.get_supported_cpuid())
sregs = vcpu.get_sregs()
sregs.cr3, sregs.cr4 = PML4, 1 << 5  # PAE
sregs.cr0 |= 1 << 31 | 1  # PG, PE
sregs.efer = 1 << 10 | 1 << 8  # LMA, LME
code = kvm.structs.Segment(limit=0xFFFFFFFF, selector=8, type=11, present=1, s=1, l=1, g=1)
sregs.cs = code
data = kvm.structs.Segment(limit=0xFFFFFFFF, selector=16, type=3, present=1, db=1, s=1, g=1)
sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data
vcpu.set_sregs(sregs)
vcpu.set_regs(kvm.structs.Regs(rip=CODE_AT, rsp=0x8000, rflags=2))

assert vcpu.run() == kvm.ExitReason.IO
print(vcpu.mapping[vcpu.kvm_run.io.data_offset], "in long mode")
assert vcpu.run() == kvm.ExitReason.HLT
for handle in (vcpu, vm, system):
    handle.close()
