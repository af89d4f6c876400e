"""The event loop as an object, /objects/main-loop (QEMU's util/main-loop.c, type main-loop)."""

from mpvm.abi.polling import POLL_NS
from mpvm.coordinator.loop import EventLoop
from mpvm.machine import Machine
from mpvm.qom import properties
from mpvm.qom.object import Object
from mpvm.qom.type_info import register_type


@register_type("main-loop", description="the coordinator's event loop")
class MainLoop(Object):
    """What of `loop` may be set while it runs."""

    loop: EventLoop

    poll_max_ns = properties.uint32(
        POLL_NS, "for how long it looks for work before it sleeps, in ns", dynamic=True
    )

    @poll_max_ns.changed
    def take_over(self) -> None:
        """Tell the loop."""
        self.loop.polling.limit_ns = self.poll_max_ns


def add_main_loop(machine: Machine, loop: EventLoop) -> None:
    """The object for `loop` into the composition tree of `machine`, with what its globals say."""
    main_loop = MainLoop()
    main_loop.loop = loop
    machine.globals.apply(main_loop)
    main_loop.take_over()
    machine.root.container("objects").add_child(MainLoop.type_name, main_loop)
