"""Module init levels: what a module registers when it is imported, and `main` runs level by level.

As include/qemu/module.h: importing a module costs no more than its decorators, and nothing of it takes
effect before `module_call_init` of its level.
"""

from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, TypeVar

InitFunction = Callable[[], None]
F = TypeVar("F", bound=InitFunction)


class Level(IntEnum):
    """The levels, in the order in which `main` runs them (QEMU's module_init_type)."""

    TRACE = 0
    BLOCK = 1
    OPTS = 2
    QOM = 3
    MACHINE = 4


_pending: Final[tuple[deque[InitFunction], ...]] = tuple(deque() for _ in Level)


def register_module_init(level: Level, function: InitFunction) -> None:
    """Have `module_call_init(level)` run `function`, after what was registered there before."""
    _pending[level].append(function)


def module_call_init(level: Level) -> None:
    """Run every function of `level` that has not run yet, each once, in the order of registration.

    A module that is imported later, a plug-in, say, registers as any other; the next call runs it.
    """
    pending = _pending[level]
    while pending:
        pending.popleft()()


def _decorator(level: Level) -> Callable[[F], F]:
    def register(function: F) -> F:
        register_module_init(level, function)
        return function

    return register


# Decorators of a function without arguments, one a level.
trace_init = _decorator(Level.TRACE)
block_init = _decorator(Level.BLOCK)
opts_init = _decorator(Level.OPTS)
type_init = _decorator(Level.QOM)
machine_init = _decorator(Level.MACHINE)
