"""Module init levels: what is registered runs once, level by level, in order."""

import functools

from mpvm.qom.module import Level, machine_init, module_call_init, opts_init, register_module_init


def test_a_level_runs_its_functions_in_the_order_of_registration_and_once() -> None:
    ran: list[int] = []
    for number in range(3):
        register_module_init(Level.BLOCK, functools.partial(ran.append, number))
    assert ran == []
    module_call_init(Level.BLOCK)
    module_call_init(Level.BLOCK)
    assert ran == [0, 1, 2]


def test_a_level_does_not_run_another() -> None:
    ran: list[str] = []

    @opts_init
    def options() -> None:
        ran.append("opts")

    @machine_init
    def machines() -> None:
        ran.append("machine")

    module_call_init(Level.OPTS)
    assert ran == ["opts"]
    module_call_init(Level.MACHINE)
    assert ran == ["opts", "machine"]


def test_what_is_registered_late_runs_at_the_next_call() -> None:
    ran: list[str] = []
    module_call_init(Level.TRACE)
    register_module_init(Level.TRACE, lambda: ran.append("late"))
    module_call_init(Level.TRACE)
    assert ran == ["late"]


def test_what_a_function_registers_at_its_own_level_runs_in_the_same_call() -> None:
    ran: list[str] = []
    register_module_init(Level.BLOCK, lambda: register_module_init(Level.BLOCK, lambda: ran.append("inner")))
    module_call_init(Level.BLOCK)
    assert ran == ["inner"]


def test_types_come_before_the_machines_that_are_made_of_them() -> None:
    assert Level.OPTS < Level.QOM < Level.MACHINE
