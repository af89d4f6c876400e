"""What a person needs after an abnormal end: where the vCPU was, and what came before.

The registers are those of the control block: exact when the vCPU has exited or is paused.
"""

import shlex
from collections.abc import Iterable, Sequence
from typing import Final

from mpvm.abi.control_block import GuestState, Segment
from mpvm.coordinator.dispatch import Exit, describe
from mpvm.coordinator.vcpu import Vcpu
from mpvm.machine.page_walk import read_linear
from mpvm.memory.ram import GuestRam

_CODE_BYTES: Final = 16
_TAIL_LINES: Final = 10
_EFER_LMA: Final = 1 << 10
_CS_LONG: Final = 1 << 13  # L of access rights in the VMCS format
_GPRS: Final = ("RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI")


def _linear_rip(guest: GuestState) -> int:
    cs: Segment = guest.cs
    if guest.efer & _EFER_LMA and cs.access_rights & _CS_LONG:
        return int(guest.rip)
    return int(cs.base + guest.rip) & 0xFFFFFFFF


def registers(guest: GuestState) -> list[str]:
    """The registers of `guest`, a few a line."""
    names = [*_GPRS, *(f"R{n}" for n in range(8, 16))]
    pairs = [f"{name:>3} {guest.gpr[n]:016x}" for n, name in enumerate(names)]
    lines = ["  ".join(pairs[n : n + 4]) for n in range(0, len(pairs), 4)]
    return [
        f"RIP {guest.cs.selector:04x}:{guest.rip:016x}  RFLAGS {guest.rflags:08x}",
        *lines,
        f"CR0 {guest.cr0:08x}  CR2 {guest.cr2:016x}  CR3 {guest.cr3:016x}  CR4 {guest.cr4:08x}  "
        f"EFER {guest.efer:08x}",
    ]


def _code(guest: GuestState, ram: GuestRam) -> str:
    data = read_linear(guest, ram, _linear_rip(guest), _CODE_BYTES)
    return data.hex(" ") if data else "not mapped"


def vcpu_report(vcpu: Vcpu, ram: GuestRam, exits: Iterable[Exit] | None = None) -> list[str]:
    """The lines about one vCPU."""
    guest = vcpu.area.control.guest
    last = vcpu.last_exits if exits is None else exits
    return [
        f"vCPU {vcpu.index} (process {vcpu.pid}):",
        *(f"  {line}" for line in registers(guest)),
        f"  code at RIP: {_code(guest, ram)}",
        "  last exits:",
        *([f"    {describe(exit_)}" for exit_ in last] or ["    none"]),
    ]


def report(cause: str, vcpus: Sequence[Vcpu], ram: GuestRam, console_tail: str, argv: Sequence[str]) -> str:
    """The whole report. `vcpus` are those it is about, `argv` is the command that reproduces the run.

    `cause` is empty when an error says it later.
    """
    lines = [f"mpvm: {cause}"] if cause else []
    for vcpu in vcpus:
        lines += vcpu_report(vcpu, ram)
        if stderr := vcpu.stderr():
            lines += ["  its stderr:", *(f"    {line}" for line in stderr.splitlines())]
    tail = [line.rstrip("\r") for line in console_tail.splitlines()][-_TAIL_LINES:]
    lines += ["end of the console:", *([f"  {line}" for line in tail] or ["  nothing"])]
    lines += [f"again with: {shlex.join(argv)}"]
    return "\n".join(lines)
