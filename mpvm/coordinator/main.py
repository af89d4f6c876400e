"""The order of a run from its configuration to its end: what QEMU's vl.c has (qemu_init, qemu_main_loop).

QEMU's name of a step stands at its right where it has one. One step comes earlier than in QEMU: the vCPUs'
processes are asked for as soon as it is known what they run, and come up while the machine is built.
"""

from typing import TYPE_CHECKING

from mpvm.accel.configure import configure_accelerators
from mpvm.config import Config
from mpvm.coordinator.ending import EndedEarly
from mpvm.coordinator.observer import Observer
from mpvm.coordinator.vm import VirtualMachine
from mpvm.qom.module import Level, module_call_init
from mpvm.trace import control, log
from mpvm.trace.control import trace

if TYPE_CHECKING:
    from mpvm.coordinator.outcome import Outcome
    from mpvm.machine import Machine


def main(config: Config, observer: Observer | None = None, *, owns_process: bool = False) -> "Outcome":
    """Run the machine that `config` describes to its end, and undo everything.

    `owns_process` is as `VirtualMachine` has it. Raises `MpvmError` when it can't be brought up and when a
    worker or a device fails.
    """
    vm = VirtualMachine(config, observer, owns_process=owns_process)
    return run(vm)


def run(vm: VirtualMachine) -> "Outcome":
    """The same, of a VM that is made already and has not run."""
    config = vm.config
    try:
        try:
            process_log_options(config)  # qemu_process_early_options: -d, -D, --trace
            init_modules(Level.TRACE, Level.BLOCK, Level.OPTS, Level.QOM)  # qemu_init_subsystems
            step("configure_accelerators")
            accel = configure_accelerators(config.machine.accel)  # configure_accelerators
            vm.create(accel)  # qemu_init_main_loop; memory, sockets, signals
            vm.launch()  # the processes of qemu_init_vcpu, beside all that follows
            machine_class = select_machine(config.machine.type)  # select_machine
            vm.create_machine(machine_class)  # qemu_create_machine, qemu_create_early_backends
            vm.run_board_init()  # machine_run_board_init: pc_init1, and every device's realize
            vm.reset_machine()  # qemu_system_reset
            vm.start()  # qdev_machine_creation_done, vm_start
            vm.main_loop()  # qemu_main_loop
        except EndedEarly:
            # A signal or a key has ended the bring-up.
            pass
        return vm.outcome()
    finally:
        vm.cleanup()  # qemu_cleanup: exit notifiers, last made, first called
        log.close_log()


def step(name: str) -> None:
    """A step of the main function begins."""
    trace("main_step", name)


def process_log_options(config: Config) -> None:
    """Log categories and trace events, before anything that could have to say something."""
    log.set_log(config.log, config.logfile)
    control.trace_enable(config.trace)
    step("process_log_options")


def init_modules(*levels: Level) -> None:
    """What modules have registered at import takes effect, level by level."""
    for level in levels:
        step(f"module_call_init({level.name})")
        module_call_init(level)


def select_machine(name: str) -> "type[Machine]":
    """The machine class called `name`; `ObjectTypeError` when there is none."""
    step("select_machine")
    # Imported here: the workers come up meanwhile.
    from mpvm.machine import machine_class

    module_call_init(Level.MACHINE)
    return machine_class(name)
