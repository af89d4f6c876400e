"""The table of trace events (QEMU's trace-events files).

Where a QEMU function or event has the same job, its name is the same.
"""

from typing import Final, NamedTuple


class TraceEvent(NamedTuple):
    """`group` is a name for several events; `arguments` are the names of what it tells."""

    group: str
    name: str
    arguments: tuple[str, ...]
    description: str


def _event(group: str, name: str, arguments: str, description: str) -> TraceEvent:
    return TraceEvent(group, name, tuple(arguments.split()), description)


_TABLE: Final = (
    _event("startup", "main_step", "step", "a step of the main function begins"),
    _event("startup", "init_vcpu", "vcpu", "the fork server is asked for the vCPU's process"),
    _event("startup", "x86_cpu_realizefn", "vcpu apic_id", "the vCPU is told which CPU it is"),
    _event("startup", "start_vcpu", "vcpu pid", "its process is there"),
    _event("startup", "vcpu_created", "vcpu engine took_ns", "its accelerator is made, in so many ns"),
    _event("startup", "vcpu_ready", "vcpu took_ns", "it could run, so many ns after its process's start"),
    _event(
        "startup",
        "vcpu_first_entry",
        "vcpu",
        "it entered the guest, the BSP to its first instruction; told at the end",
    ),
    _event("run", "runstate_set", "state", "the VM's run state changes"),
    _event("run", "exit_notifier", "name", "one of the clean-ups of the end, in reverse order"),
    _event("exit", "vcpu_exit", "vcpu exit", "the coordinator serves an exit"),
    _event("monitor", "handle_qmp_command", "request", "a client of QMP asks for something"),
    _event("monitor", "handle_hmp_command", "command", "a person types a command at a monitor"),
    _event("monitor", "qmp_event", "event data", "QMP's clients are told of an event"),
)

EVENTS: Final = {event.name: event for event in _TABLE}
