"""Reset in three phases (QEMU's docs/devel/reset.rst, include/hw/resettable.h).

*enter*: every object puts its own state right, and touches no other. *hold*: every object drives its
outputs, IRQ lines, say, as its reset state has them. *exit*: the reset is over, work may begin. A phase
ends for the whole tree before the next begins, so no object sees another that is half reset.
"""

from collections.abc import Iterable

from mpvm.qom.object import Interface
from mpvm.qom.type_info import register_type


@register_type("resettable", abstract=True, description="can be reset, in three phases")
class Resettable(Interface):
    """What takes part in a reset. All phases do nothing unless a type says otherwise."""

    def reset_children(self) -> "Iterable[Resettable]":
        """What is reset with it, and in each phase before it."""
        return ()

    def reset_enter(self) -> None:
        """Put own state right, without effect on others."""

    def reset_hold(self) -> None:
        """Drive outputs to match."""

    def reset_exit(self) -> None:
        """The reset ends: begin to work."""


def resettable_reset(root: Resettable) -> None:
    """Reset `root` and all that is reset with it."""
    everything = list(_in_order(root))
    for member in everything:
        member.reset_enter()
    for member in everything:
        member.reset_hold()
    for member in everything:
        member.reset_exit()


def _in_order(root: Resettable) -> "Iterable[Resettable]":
    for member in root.reset_children():
        yield from _in_order(member)
    yield root
