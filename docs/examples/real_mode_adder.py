"""Two numbers are added in real mode and the sum goes out of port 0x3f8: prints "4", then "halted".

The first example of KVM's API. Run it with the arguments "kvm", "unicorn" or "unicorn processes".
"""

import sys

from mpvm import kvm

CODE = bytes.fromhex(
    "ba f8 03"  # mov $0x3f8, %dx
    "00 d8"  # add %bl, %al
    "04 30"  # add $'0', %al
    "ee"  # out %al, (%dx)
    "b0 0a"  # mov $'\n', %al
    "ee"  # out %al, (%dx)
    "f4"  # hlt
)

system = kvm.open(*sys.argv[1:2], processes="processes" in sys.argv)
assert system.get_api_version() == kvm.API_VERSION
vm = system.create_vm()
memory = vm.allocate_memory(0x1000)
memory.write(0, CODE)
vm.set_user_memory_region(slot=0, flags=0, gpa=0x1000, size=0x1000, address=memory.address)

vcpu = vm.create_vcpu(0)
sregs = vcpu.get_sregs()
sregs.cs.base = sregs.cs.selector = 0
vcpu.set_sregs(sregs)
vcpu.set_regs(kvm.structs.Regs(rip=0x1000, rax=2, rbx=2, rflags=2))

while (reason := vcpu.run()) == kvm.ExitReason.IO:
    io = vcpu.kvm_run.io
    assert (io.direction, io.size, io.port, io.count) == (1, 1, 0x3F8, 1)
    print(chr(vcpu.mapping[io.data_offset]), end="")
assert reason == kvm.ExitReason.HLT, reason
print("halted")
for handle in (vcpu, vm, system):
    handle.close()
