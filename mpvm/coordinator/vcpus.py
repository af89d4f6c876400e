"""All vCPUs of a VM: their socket, their messages, and what is asked of all of them together."""

import contextlib
import errno
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mpvm.abi import errors
from mpvm.abi.errors import MpvmError, ProtocolError, WorkerError
from mpvm.abi.layout import Request, ResumeFlag, VcpuArea
from mpvm.abi.messages import Kind, Message, decode, encode
from mpvm.coordinator.dispatch import Exit
from mpvm.coordinator.loop import EventLoop
from mpvm.coordinator.router import Router
from mpvm.coordinator.vcpu import Vcpu, VcpuState
from mpvm.hw.clock import NS_PER_SECOND

# How long a worker may take for one thing. Generous: 64 of them on two cores share the time.
TIME_LIMIT_SECONDS: Final = 30.0
# A worker's last message may arrive after the news of its death.
_LAST_WORDS_NS: Final = 100_000_000

_NEEDS: Final = {
    Kind.CREATED: frozenset({VcpuState.STARTING}),
    Kind.READY: frozenset({VcpuState.CREATED}),
    Kind.EXIT: frozenset({VcpuState.RUNNING}),
    Kind.PAUSED: frozenset({VcpuState.RUNNING}),
}


class VcpuSet:
    """`on_exit(exit)` serves an exit and calls `reply`; `observe(vcpu)` hears of CREATED and READY.

    `vcpus` has all that can be, by index; the first `smp` (None: all) are present from the start. What is
    asked of all of them is asked of those that are present. Failures are raised in the event loop, out of
    whoever runs it.
    """

    def __init__(
        self,
        loop: EventLoop,
        areas: Sequence[VcpuArea],
        endpoint: str,
        on_exit: Callable[[Exit], None],
        observe: Callable[[Vcpu], None] = lambda vcpu: None,
        limit_seconds: float = TIME_LIMIT_SECONDS,
        smp: int | None = None,
    ) -> None:
        self.vcpus = [Vcpu(index, area) for index, area in enumerate(areas)]
        for vcpu in self.vcpus[len(areas) if smp is None else smp :]:
            vcpu.state = VcpuState.ABSENT
        self._by_identity = {vcpu.identity: vcpu for vcpu in self.present}
        self._loop = loop
        self._on_exit = on_exit
        self._observe = observe
        self._limit_ns = int(limit_seconds * NS_PER_SECOND)
        self._stopping = False
        self._router = Router(endpoint)

    def serve(self) -> None:
        """Hear of the workers in the loop from now on; what they have said before has waited."""
        self._loop.serve(self._router.open(), self._take)

    def watch(self, vcpu: Vcpu) -> None:
        """Hear of the end of `vcpu`'s process, which has been started."""
        self._loop.add_reader(vcpu.pidfd, lambda: self._on_death(vcpu))

    @property
    def present(self) -> list[Vcpu]:
        """The vCPUs that are there, by index."""
        return [vcpu for vcpu in self.vcpus if vcpu.state is not VcpuState.ABSENT]

    def all_alive(self) -> bool:
        """Whether every worker's process is there, for a wait in which the loop hears of no death."""
        return not any(vcpu.has_ended() for vcpu in self.vcpus if not vcpu.detached)

    def wait_for(self, state: VcpuState) -> None:
        """Run the loop until every vCPU has reached `state`; `WorkerError` names one that is silent."""
        if not self._run_until(lambda: all(vcpu.state >= state for vcpu in self.present)):
            late = next(vcpu for vcpu in self.present if vcpu.state < state)
            raise WorkerError(
                f"vCPU {late.index}: its worker (process {late.pid}) did not become {state.name.lower()} "
                f"within {self._limit_ns // NS_PER_SECOND} s"
            )

    def resume(self, flags: ResumeFlag = ResumeFlag(0)) -> None:  # noqa: B008 - an immutable flag
        """Let every vCPU, ready or paused, run."""
        for vcpu in self.present:
            vcpu.area.request &= ~Request.PAUSE
        for vcpu in self.present:
            vcpu.state = VcpuState.RUNNING
            self._send(vcpu, encode(Kind.RESUME, int(flags | vcpu.entry_flags)))
            vcpu.entry_flags = ResumeFlag(0)

    def ask_pause(self, vcpus: Iterable[Vcpu] | None = None) -> None:
        """Ask every running vCPU, or those of `vcpus`, to pause, without waiting."""
        for vcpu in self.vcpus if vcpus is None else vcpus:
            if vcpu.state == VcpuState.RUNNING:
                vcpu.ask(Request.PAUSE)

    def pause(self) -> None:
        """Bring every running vCPU to a halt between two instructions; their exits are served meanwhile."""
        self.ask_pause()
        if not self._run_until(lambda: all(vcpu.state != VcpuState.RUNNING for vcpu in self.vcpus)):
            late = next(vcpu for vcpu in self.vcpus if vcpu.state == VcpuState.RUNNING)
            raise WorkerError(
                f"vCPU {late.index}: its worker (process {late.pid}) did not pause within "
                f"{self._limit_ns // NS_PER_SECOND} s"
            )

    def reply(self, index: int, data: int) -> None:
        """Answer the exit that vCPU `index` waits in."""
        self._send(self.vcpus[index], encode(Kind.REPLY, data))

    def kick(self, index: int) -> None:
        """Make vCPU `index` look at its requests and its inbox."""
        self.vcpus[index].kick()

    def stop(self, grace_seconds: float = 5.0) -> None:
        """End every worker: by a message and a kick, by SIGKILL when that does not help."""
        self._stopping = True
        started = [vcpu for vcpu in self._by_identity.values() if vcpu.pidfd >= 0]
        for vcpu in started:
            vcpu.area.request |= Request.STOP
            # One that has not connected yet gets none; it finds the request, or is killed.
            with contextlib.suppress(OSError):
                self._router.send(vcpu.identity, encode(Kind.STOP))
            vcpu.kick()
        unready = [vcpu for vcpu in started if vcpu.state < VcpuState.READY]
        for vcpu in unready:
            vcpu.kill()
        deadline = self._loop.clock.now() + int(grace_seconds * NS_PER_SECOND)
        if not self._loop.run(lambda: all(vcpu.gone for vcpu in started), deadline):
            for vcpu in started:
                vcpu.kill()
            self._run_until(lambda: all(vcpu.gone for vcpu in started))

    def close(self) -> None:
        """Close the socket and the process handles; every worker has ended."""
        self._router.close()
        for vcpu in self._by_identity.values():
            vcpu.close()

    # Another worker for a vCPU (`mpvm.coordinator.move`), one more, or one less (`mpvm.coordinator.hotplug`).

    def successor(self, vcpu: Vcpu) -> Vcpu:
        """Who may become `vcpu` after its present worker, by `hand_over`; to be started and watched."""
        before = 0 if vcpu.state is VcpuState.ABSENT else 1
        new = Vcpu(vcpu.index, vcpu.area, vcpu.generation + before)
        new.detached = True
        self._by_identity[new.identity] = new
        return new

    def run_until(self, until: Callable[[], bool]) -> bool:
        """Run the loop until `until()` holds (True), or a worker has had all the time that it may take."""
        return self._run_until(until)

    def dismiss(self, vcpu: Vcpu) -> None:
        """End the worker of `vcpu`, which is ready or paused. Its state becomes STOPPED, or it is gone."""
        vcpu.detached = True
        self._send(vcpu, encode(Kind.STOP))

    def discard(self, vcpu: Vcpu) -> None:
        """Forget a successor that has come to nothing, whatever its worker does."""
        if vcpu.buried:
            return
        if vcpu.pidfd < 0:
            del self._by_identity[vcpu.identity]
        else:
            vcpu.kill()

    def plug(self, new: Vcpu, running: bool) -> None:
        """Make `new`, which is ready, the vCPU, which was absent: from its reset, now or with `resume`."""
        self.vcpus[new.index] = new
        new.detached = False
        new.entry_flags = ResumeFlag.RESET | ResumeFlag.CONTROLS
        if running:
            new.state = VcpuState.RUNNING
            self._send(new, encode(Kind.RESUME, int(new.entry_flags)))
            new.entry_flags = ResumeFlag(0)

    def unplug(self, vcpu: Vcpu) -> None:
        """`vcpu`, which has been dismissed and has stopped, is absent from now on."""
        self.vcpus[vcpu.index] = vcpu.absent()

    def hand_over(self, new: Vcpu, running: bool) -> None:
        """Make `new` the vCPU, whose last worker has stopped. It goes on now, or with the next `resume`."""
        flags = ResumeFlag.LOAD_STATE | ResumeFlag.CONTROLS
        self.vcpus[new.index] = new
        new.detached = False
        new.area.request &= ~Request.PAUSE
        if running:
            new.state = VcpuState.RUNNING
            self._send(new, encode(Kind.RESUME, int(flags)))
        else:
            new.state, new.entry_flags = VcpuState.PAUSED, flags

    def _forget(self, vcpu: Vcpu) -> None:
        """A detached worker has ended, and has had the time for its last words."""
        vcpu.close()
        del self._by_identity[vcpu.identity]
        if vcpu.state >= VcpuState.PAUSED and vcpu.exit_code:
            raise failure_of(vcpu)

    def _run_until(self, until: Callable[[], bool]) -> bool:
        return self._loop.run(until, self._loop.clock.now() + self._limit_ns)

    def _send(self, vcpu: Vcpu, payload: bytes) -> None:
        try:
            self._router.send(vcpu.identity, payload)
        except OSError as error:
            # Its death is about to be noticed, and says more.
            if not vcpu.gone and error.errno != errno.EHOSTUNREACH:
                raise WorkerError(f"vCPU {vcpu.index}: can't send to it: {error.strerror}") from error

    def _take(self) -> bool:
        received = self._router.receive()
        if received is None:
            return False
        self._on_message(*received)
        return True

    def _on_message(self, identity: bytes, payload: bytes) -> None:
        vcpu = self._by_identity.get(identity)
        if vcpu is None:
            raise ProtocolError(f"a message from {identity!r}, which is no vCPU of this VM")
        try:
            message = decode(payload)
        except ProtocolError as error:
            raise ProtocolError(f"vCPU {vcpu.index}: {error}") from error
        needed = _NEEDS.get(message.kind)
        if needed is not None and vcpu.state not in needed and not self._stopping:
            raise ProtocolError(
                f"vCPU {vcpu.index}: message {message.kind.name} while it is {vcpu.state.name.lower()}"
            )
        if message.kind is Kind.EXIT:
            if not self._stopping:
                self._on_exit(Exit(vcpu.index, *message.fields))
        else:
            self._on_report(vcpu, message)

    def _on_report(self, vcpu: Vcpu, message: Message) -> None:
        match message.kind:
            case Kind.CREATED:
                _pid, vcpu.engine, vcpu.created_ns = message.fields
                vcpu.state = VcpuState.CREATED
                self._observe(vcpu)
            case Kind.READY:
                (vcpu.ready_ns,) = message.fields
                vcpu.state = VcpuState.READY
                self._observe(vcpu)
            case Kind.PAUSED:
                vcpu.state = VcpuState.PAUSED
            case Kind.STOPPED:
                vcpu.state = VcpuState.STOPPED
            case Kind.FAILED:
                vcpu.failure = message.fields
                if not self._stopping and not vcpu.detached:
                    raise failure_of(vcpu)
            case _:
                raise ProtocolError(
                    f"vCPU {vcpu.index}: message {message.kind.name} is the coordinator's to send"
                )

    def _on_death(self, vcpu: Vcpu) -> None:
        self._loop.remove_reader(vcpu.pidfd)
        vcpu.gone = True
        if self._stopping:
            return

        def bury() -> None:
            vcpu.buried = True
            if self._stopping:
                return
            if not vcpu.detached:
                raise failure_of(vcpu)
            self._forget(vcpu)

        self._loop.clock.timer(bury).arm(self._loop.clock.now() + _LAST_WORDS_NS)


def failure_of(vcpu: Vcpu) -> MpvmError:
    """The error that `vcpu`'s FAILED message or its process's end stands for."""
    if vcpu.failure is not None:
        text, name = vcpu.failure
        known = getattr(errors, name, None)
        if isinstance(known, type) and issubclass(known, MpvmError):
            return known(f"vCPU {vcpu.index}: {text}")
        return WorkerError(f"vCPU {vcpu.index}: {name}: {text}")
    words = vcpu.last_words()
    said = f"; it said last: {words}" if words else ""
    return WorkerError(f"vCPU {vcpu.index}: {vcpu.exit_status()} (process {vcpu.pid}){said}")
