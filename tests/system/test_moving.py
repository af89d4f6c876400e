"""vCPUs go on in other processes, and their guest does not notice. (The long forms: docs/moving.md.)"""

from pathlib import Path

from tests.system import moving
from tests.system.runner import Launcher


def test_a_guest_computes_the_right_checksum_in_a_hundred_workers(
    launch: Launcher, images: dict[str, Path]
) -> None:
    moved = moving.move_guest(launch, images["moving"], moves=100, smp=2)
    assert moving.problems(moved, of_linux=False) == []


def test_linux_works_on_while_its_vcpus_are_moved(launch: Launcher) -> None:
    moved = moving.move_linux(launch, moves=50, smp=2)
    assert moving.problems(moved, of_linux=True) == []
