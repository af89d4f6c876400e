"""How vCPUs are arranged: QEMU's rules for what is not given, and APIC IDs with gaps."""

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.abi.layout import MAX_VCPUS
from mpvm.cpu.topology import Place, single_socket, topology
from mpvm.machine.apic_bus import BROADCAST


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"cpus": 4}, (4, 4, 1, 1, 4, 1)),
        ({}, (1, 1, 1, 1, 1, 1)),
        ({"sockets": 2, "cores": 3, "threads": 2}, (12, 12, 2, 1, 3, 2)),
        ({"cpus": 8, "sockets": 2}, (8, 8, 2, 1, 4, 1)),
        ({"cpus": 8, "cores": 2}, (8, 8, 4, 1, 2, 1)),
        ({"cpus": 8, "sockets": 2, "cores": 2}, (8, 8, 2, 1, 2, 2)),
        ({"cpus": 8, "threads": 2}, (8, 8, 1, 1, 4, 2)),
        ({"cpus": 2, "maxcpus": 8}, (2, 8, 1, 1, 8, 1)),
        ({"cpus": 8, "dies": 2}, (8, 8, 1, 2, 4, 1)),
        ({"maxcpus": 6, "sockets": 3}, (6, 6, 3, 1, 2, 1)),
    ],
)
def test_what_is_not_given_is_filled_in_cores_first(given: dict[str, int], expected: tuple[int, ...]) -> None:
    assert topology(**given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpus": 0}, "cpus is 0, a number above 0 is right"),
        (
            {"cpus": 5, "sockets": 2},
            r"sockets \(2\) \* dies \(1\) \* cores \(2\) \* threads \(1\) != maxcpus \(5\)",
        ),
        ({"cpus": 4, "maxcpus": 2}, r"maxcpus \(2\) < cpus \(4\)"),
        ({"sockets": 13, "cores": 5}, "65 is out of range, at most 64 vCPUs are right"),
    ],
)
def test_what_can_not_be_is_refused_with_what_would_be(given: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        topology(**given)


def test_apic_ids_have_gaps_where_a_level_is_no_power_of_two() -> None:
    twelve = topology(sockets=2, cores=3, threads=2)
    assert twelve.apic_ids == (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13)
    assert (twelve.core_shift, twelve.die_shift, twelve.socket_shift) == (1, 3, 3)
    assert topology(sockets=2, dies=3, cores=1, threads=1).apic_ids == (0, 1, 2, 4, 5, 6)


@pytest.mark.parametrize("count", [1, 2, 3, 64])
def test_a_number_alone_is_a_socket_of_cores_whose_ids_are_their_indexes(count: int) -> None:
    assert single_socket(count).apic_ids == tuple(range(count))


@pytest.mark.parametrize("shape", [(1, 1, 6, 1), (2, 1, 3, 2), (2, 3, 2, 2), (5, 1, 1, 3)])
def test_a_vcpu_and_its_place_tell_each_other(shape: tuple[int, int, int, int]) -> None:
    sockets, dies, cores, threads = shape
    machine = topology(sockets=sockets, dies=dies, cores=cores, threads=threads)
    assert len(set(machine.apic_ids)) == machine.maxcpus
    for index in range(machine.maxcpus):
        assert machine.index_of(machine.place(index)) == index


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(IndexError, match="cores: 3 is not in 0-2"):
        topology(sockets=2, cores=3, threads=2).index_of(Place(0, 0, 3, 0))


def test_every_apic_id_that_there_can_be_is_a_destination_of_8_bits() -> None:
    counts = range(1, MAX_VCPUS + 1)
    shapes = [
        (sockets, dies, cores, MAX_VCPUS // (sockets * dies * cores))
        for sockets in counts
        for dies in range(1, MAX_VCPUS // sockets + 1)
        for cores in range(1, MAX_VCPUS // (sockets * dies) + 1)
    ]
    highest = max(
        topology(sockets=sockets, dies=dies, cores=cores, threads=threads).apic_ids[-1]
        for sockets, dies, cores, most in shapes
        for threads in range(1, most + 1)
    )
    assert highest < BROADCAST
