"""A vCPU goes on in another worker process (docs/moving.md).

What it is lies in its control block and its local APIC page, and what others send it in its inbox, all in
shared memory. So the move is: a new worker comes up beside the old one; the old one stops between two
instructions, which saves the registers, and ends; the new one loads them.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mpvm.abi.errors import CommandError, MpvmError, WorkerError
from mpvm.accel import Accelerator, accelerator
from mpvm.coordinator.launch import Launcher, wait_for_process
from mpvm.coordinator.vcpu import Vcpu, VcpuState
from mpvm.coordinator.vcpus import VcpuSet, failure_of
from mpvm.cpu.features import FEATURES


class Moved(NamedTuple):
    """What a move took: `total_ns` in all, and `gap_ns` of it from the request to stop to that to go on."""

    total_ns: int
    gap_ns: int


class VcpuMover:
    """Moves vCPUs, for actions of the main loop. When `ended()`, the run is over and a move is given up."""

    def __init__(self, vcpus: VcpuSet, launcher: Launcher, ended: Callable[[], bool]) -> None:
        self._vcpus = vcpus
        self._launcher = launcher
        self._ended = ended

    def move(self, index: int | None, accel: str | None = None) -> Moved:
        """Have vCPU `index` go on in a new worker, under the accelerator `accel`.

        `index` None: every vCPU; `accel` None: the present one. Raises `CommandError` for what can't be, and
        what a new worker fails with: the VM goes on as it was.
        """
        olds = self._chosen(index)
        target = self._accelerator(accel, olds)
        began = time.monotonic_ns()
        news = self._bring_up(olds, target)
        stopping = time.monotonic_ns()
        running = [vcpu.state is VcpuState.RUNNING for vcpu in olds]
        self._vcpus.ask_pause(olds)
        self._wait(olds, "pause", lambda vcpu: vcpu.state is not VcpuState.RUNNING)
        if self._ended():
            # Who has ended the run may be one that should pause, and its exit is never answered.
            for new in news:
                self._vcpus.discard(new)
            return Moved(0, 0)
        for old in olds:
            self._vcpus.dismiss(old)
        self._wait(olds, "stop", lambda vcpu: vcpu.state is VcpuState.STOPPED or vcpu.gone)
        for new, was_running in zip(news, running, strict=True):
            self._vcpus.hand_over(new, was_running)
        self._launcher.accelerator = target
        now = time.monotonic_ns()
        return Moved(now - began, now - stopping)

    def _chosen(self, index: int | None) -> list[Vcpu]:
        vcpus = self._vcpus.present
        if index is None:
            return vcpus
        chosen = [vcpu for vcpu in vcpus if vcpu.index == index]
        if not chosen:
            right = ", ".join(str(vcpu.index) for vcpu in vcpus)
            raise CommandError(f"there is no vCPU {index}, one of {right} is right")
        return chosen

    def _accelerator(self, accel: str | None, olds: Sequence[Vcpu]) -> Accelerator:
        present = self._launcher.accelerator
        if accel is None or accel == present.name:
            return present
        if len(olds) < len(self._vcpus.present):
            # docs/coherence.md: hardware's stores ask nobody whether there are translations of what they hit.
            raise CommandError(
                f"vCPU {olds[0].index} can't run under {accel} beside vCPUs under {present.name}, whose "
                "translated code would miss its stores; a move of all of them is right"
            )
        target = accelerator(accel)
        target.check()
        supported = target.supported_features()
        words = olds[0].area.features
        lacking = [
            name
            for name, place in FEATURES.items()
            if words[place.word] >> place.bit & 1 and name not in supported
        ]
        if lacking:
            raise CommandError(
                f"{accel} has no {' '.join(lacking)} of the guest's CPU; a VM started without is right"
            )
        return target

    def _bring_up(self, olds: Sequence[Vcpu], target: Accelerator) -> list[Vcpu]:
        news = [self._vcpus.successor(old) for old in olds]
        try:
            for new in news:
                self._launcher.ask(new, target)
            for new in news:
                wait_for_process(new)
                self._vcpus.watch(new)
            self._wait(news, "become ready", lambda new: new.is_up or new.has_failed)
            for new in (one for one in news if one.has_failed):
                raise failure_of(new)
        except MpvmError:
            for new in news:
                self._vcpus.discard(new)
            raise
        return news

    def _wait(self, vcpus: Sequence[Vcpu], what: str, done: Callable[[Vcpu], bool]) -> None:
        if not self._vcpus.run_until(lambda: self._ended() or all(map(done, vcpus))):
            late = next(vcpu for vcpu in vcpus if not done(vcpu))
            raise WorkerError(f"vCPU {late.index}: its worker (process {late.pid}) did not {what} in time")
