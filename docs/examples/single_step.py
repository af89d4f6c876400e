"""A debugger steps through a loop and says where it was: prints "0 3 4 5 3 4 5 3 4 5", then "halted with 3".

Run it with the arguments "kvm", "unicorn" or "unicorn processes".
"""

import sys

from mpvm import kvm

CODE_AT = 0x1000
CODE = bytes.fromhex(
    "b9 03 00"  # mov $3, %cx
    "40"  # again: inc %ax
    "49"  # dec %cx
    "75 fc"  # jnz again
    "f4"  # hlt
)
STEP = kvm.GuestDebug.ENABLE | kvm.GuestDebug.SINGLESTEP

system = kvm.open(*sys.argv[1:2], processes="processes" in sys.argv)
assert system.check_extension(kvm.Cap.SET_GUEST_DEBUG)
vm = system.create_vm()
memory = vm.allocate_memory(0x1000)
memory.write(0, CODE)
vm.set_user_memory_region(slot=0, flags=0, gpa=CODE_AT, size=0x1000, address=memory.address)

vcpu = vm.create_vcpu(0)
sregs = vcpu.get_sregs()
sregs.cs.base = sregs.cs.selector = 0
vcpu.set_sregs(sregs)
vcpu.set_regs(kvm.structs.Regs(rip=CODE_AT, rflags=2))

vcpu.set_guest_debug(STEP)
seen = [0]
while CODE[seen[-1]] != CODE[-1]:
    assert vcpu.run() == kvm.ExitReason.DEBUG
    seen.append(vcpu.kvm_run.debug.arch.pc - CODE_AT)
print(*seen[:-1])
vcpu.set_guest_debug(0)
assert vcpu.run() == kvm.ExitReason.HLT
print("halted with", vcpu.get_regs().rax)
for handle in (vcpu, vm, system):
    handle.close()
