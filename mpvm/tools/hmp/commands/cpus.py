"""vCPUs and memory, as a debugger sees them."""

from typing import Any, cast

from mpvm.abi.control_block import GuestState
from mpvm.abi.errors import CommandError
from mpvm.machine.page_walk import translate
from mpvm.tools.hmp import formats, registers
from mpvm.tools.hmp.expression import MASK, Expression
from mpvm.tools.hmp.registry import UsageError, command, info
from mpvm.tools.hmp.session import HmpSession
from mpvm.tools.vm import Vcpu

_PAGE = 0x1000
_A20 = 20
# More is a mistake, and would be kept in memory twice.
_DUMP_LIMIT = 1 << 20


def _vcpu(session: HmpSession) -> Vcpu:
    found = {vcpu.index: vcpu for vcpu in session.vm.list_vcpus()}
    if not found:
        raise CommandError("No CPU available")
    return found.get(session.cpu_index) or next(iter(found.values()))


def _expression(session: HmpSession, guest: GuestState | None, text: str) -> int:
    expression = Expression(text, lambda name: None if guest is None else registers.value_of(guest, name))
    try:
        value = expression.read()
    except CommandError as error:
        raise UsageError(str(error)) from None
    if expression.rest:
        raise UsageError(f"invalid char '{expression.rest[0]}' in expression")
    return value


@command("cpu", "index", "set the default CPU")
def cpu(session: HmpSession, rest: str) -> None:
    """The vCPU that other commands are about."""
    index = _expression(session, None, rest)
    if index not in {vcpu.index for vcpu in session.vm.list_vcpus()}:
        session.line("invalid CPU index")
        return
    session.cpu_index = index


@info("cpus", "", "show infos for each CPU")
def cpus(session: HmpSession, _rest: str) -> None:
    """Every vCPU and its process."""
    for each in cast(list[dict[str, Any]], session.qmp("query-cpus-fast")):
        mark = "*" if each["cpu-index"] == _vcpu(session).index else " "
        session.line(f"{mark} CPU #{each['cpu-index']}: thread_id={each['thread-id']}")


@info("registers", "[-a|vcpu]", "show the cpu registers (-a: show register info for all cpus)")
def info_registers(session: HmpSession, rest: str) -> None:
    """The registers of a vCPU, or of every one."""
    vcpus = {vcpu.index: vcpu for vcpu in session.vm.list_vcpus()}
    if rest == "-a":
        wanted = list(vcpus)
    else:
        wanted = [_expression(session, None, rest)] if rest else [_vcpu(session).index]
    with session.vm.run_control.standstill():
        for index in wanted:
            if index not in vcpus:
                session.line(f"CPU#{index} not available")
                return
            guest = vcpus[index].area.control.guest
            a20 = bool(session.vm.machine.host.page.a20_mask >> _A20 & 1)
            for line in registers.dump(index, guest, a20):
                session.line(line)


@command("print|p", "/fmt expr", "print expression value (use $reg for CPU register access)")
def print_(session: HmpSession, rest: str) -> None:
    """The value of an expression."""
    format_, text = formats.read_format(session, rest)
    with session.vm.run_control.standstill():
        guest = _vcpu(session).area.control.guest if session.vm.list_vcpus() else None
        value = _expression(session, guest, text)
    # Not cut to the size: that is the memory dumps'.
    session.line(formats.shown(value, format_.letter, 8))


@command("x", "/fmt addr", "virtual memory dump starting at 'addr'")
def x(session: HmpSession, rest: str) -> None:
    """Memory as the default vCPU's page tables have it."""
    _dump(session, rest, physical=False)


@command("xp", "/fmt addr", "physical memory dump starting at 'addr'")
def xp(session: HmpSession, rest: str) -> None:
    """Memory by its physical address."""
    _dump(session, rest, physical=True)


def _dump(session: HmpSession, rest: str, *, physical: bool) -> None:
    format_, text = formats.read_format(session, rest)
    if format_.letter == "i":
        session.line("Asm output not supported on this arch")
        return
    size = format_.items * format_.size
    if size > _DUMP_LIMIT:
        raise UsageError(f"{size} bytes are too many, {_DUMP_LIMIT} are right")
    with session.vm.run_control.standstill():
        guest = _vcpu(session).area.control.guest
        address = _expression(session, guest, text)
        data = _read(session, None if physical else guest, address, size)
    for line in formats.dump(address, data, format_):
        session.line(line)
    if len(data) < size:
        session.line(f"{address + len(data):016x}: Cannot access memory")


def _read(session: HmpSession, guest: GuestState | None, address: int, size: int) -> bytes:
    """`size` bytes at `address`, linear in `guest` or physical; fewer where the mapping ends."""
    machine = session.vm.machine
    out = bytearray()
    while len(out) < size:
        at = address + len(out) & MASK
        count = min(size - len(out), _PAGE - at % _PAGE)
        where = at if guest is None else translate(guest, machine.ram, at)
        if where is None:
            break
        if machine.ram.contains(where, count):
            out += machine.ram.read(where, count)
        else:
            out += bytes(machine.memory.read(where + n, 1) for n in range(count))
    return bytes(out)


@command("gva2gpa", "addr", "print the guest physical address corresponding to a guest virtual address")
def gva2gpa(session: HmpSession, rest: str) -> None:
    """Where a virtual address is."""
    with session.vm.run_control.standstill():
        guest = _vcpu(session).area.control.guest
        address = _expression(session, guest, rest)
        where = translate(guest, session.vm.machine.ram, address)
    session.line("Unmapped" if where is None else f"gpa: {where:#x}")
