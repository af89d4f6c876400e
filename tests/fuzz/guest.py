"""Cases on one engine in this process, in ring 3 of a small kernel."""

from types import TracebackType
from typing import Final, Self

from mpvm.coordinator.dma import DmaEngine
from tests.fuzz import layout, runner
from tests.unit.engine.long_mode import (
    CR0_ET,
    CR0_MP,
    CR0_NE,
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_OSFXSR,
    CR4_OSXMMEXCPT,
    CR4_OSXSAVE,
    CR4_PAE,
    GDT,
    NX,
    STACK_TOP,
    LongModeMachine,
    P,
    U,
    W,
)

_VECTORS = 32
_WITH_ERROR_CODE = (8, 10, 11, 12, 13, 14, 17, 21)
_PHYSICAL: Final = 0x400000
_CODE32, _DATA32, _CODE64 = 0x00CFFB000000FFFF, 0x00CFF3000000FFFF, 0x00AFFB000000FFFF
_BREAKPOINT = 3
CR0_AM: Final = 1 << 18
# Runner variables, and after its code.
_CURRENT = runner.PROGRAM.labels["current"]


def _stub(vector: int) -> str:
    error = "" if vector in _WITH_ERROR_CODE else "push $0;"
    return f"stub{vector}: {error} push ${vector}; jmp event"


# What a batch begins and ends with, and what notes exceptions: vector, error code, RIP and CR2.
_KERNEL = f"""
idle:
    mov ${STACK_TOP}, %rsp
    mark
    push ${layout.USER_SS}
    push $0
    push $0x202
    push ${layout.CS64}
    movabs ${runner.PROGRAM.labels["run"]}, %rax
    push %rax
    iretq
event:
    push %rax
    push %rcx
    push %rdx
    mov 24(%rsp), %rax
    mov 40(%rsp), %rcx
    cmp ${_BREAKPOINT}, %rax
    jne 1f
    movabs ${runner.PROGRAM.labels["batch_done"] + 1}, %rdx
    cmp %rdx, %rcx
    je idle
1:
    movabs ${_CURRENT}, %rdx
    mov %rax, {layout.VECTOR_AT}(%rdx)
    mov %rcx, {layout.RIP_AT}(%rdx)
    mov 32(%rsp), %rcx
    mov %rcx, {layout.ERROR_AT}(%rdx)
    cmp $14, %eax
    jne 2f
    mov %cr2, %rcx
    mov %rcx, {layout.CR2_AT}(%rdx)
2:
    movq ${layout.GATE}, 40(%rsp)
    movq ${layout.CS64}, 48(%rsp)
    andl $~{0x40100}, 56(%rsp)
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq
{chr(10).join(map(_stub, range(_VECTORS)))}
"""


class Guest:
    """A machine with the runner, booted to where it waits for a batch."""

    def __init__(self, model: str = "max") -> None:
        self._machine = machine = LongModeMachine(model)
        machine.boot(
            _KERNEL,
            cr0=CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG,
            cr4=CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE,
        )
        for selector, descriptor in (
            (layout.CS32, _CODE32),
            (layout.USER_SS, _DATA32),
            (layout.CS64, _CODE64),
        ):
            machine.store(GDT + (selector & ~7), descriptor, 8)
        for vector in range(_VECTORS):
            machine.set_gate(vector, machine.label(f"stub{vector}"), dpl=3 if vector in (3, 4) else 0)
        for address in range(0, 2 << 20, layout.PAGE):
            machine.map(address, address, P | W)
        self._physical: dict[str, int] = {}
        self._next = _PHYSICAL
        variables = layout.RUNNER + layout.PAGE
        self._place("runner", layout.RUNNER, layout.PAGE, 0)
        self._place("variables", variables, layout.RUNNER_BYTES - layout.PAGE, W | NX)
        for region in layout.REGIONS:
            rights = {"code": 0, "records": NX, "constants": NX}.get(region.name, W | NX)
            self._place(region.name, region.address, region.size, rights)
        machine.write(self._physical["runner"], runner.PROGRAM.code[: layout.PAGE])
        machine.write(self._physical["variables"], runner.PROGRAM.code[layout.PAGE :])
        machine.write(self._physical["constants"], layout.CONSTANT_BYTES)
        self._dma = DmaEngine(
            memoryview(machine.vm_block), machine.ram, machine.areas, lambda: True, limit_seconds=10
        )
        machine.mark()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._machine.close()

    def run(self, code: bytes, records: bytes) -> tuple[bytes, bytes]:
        """As `tests.fuzz.host.Host.run`."""
        machine, physical = self._machine, self._physical
        count = len(records) // layout.RECORD_BYTES
        # By the coherence protocol: the engine has translations of the last batch's code.
        self._dma.store(physical["code"], code)
        machine.write(physical["records"], records)
        machine.write(physical["data"], bytes(layout.DATA_BYTES))
        variables = physical["variables"] - layout.RUNNER - layout.PAGE
        machine.store(variables + runner.PROGRAM.labels["count"], count, 8)
        machine.watch()
        machine.mark()
        return machine.read(physical["results"], len(records)), machine.read(
            physical["data"], layout.DATA_BYTES
        )

    def _place(self, name: str, address: int, size: int, rights: int) -> None:
        self._physical[name] = self._next
        for offset in range(0, size, layout.PAGE):
            self._machine.map(address + offset, self._next + offset, P | U | rights)
        self._next += size
