"""How vCPUs are arranged in sockets, dies, cores and threads, and the APIC IDs that follow from it.

An APIC ID has a field of bits for each level (SDM vol. 3, 8.9.1), as wide as its highest number needs: three
cores take two bits, so that IDs have gaps where a level's size is no power of two.
"""

from typing import Final, NamedTuple

from mpvm.abi.errors import ConfigError
from mpvm.abi.layout import MAX_VCPUS

LEVELS: Final = ("sockets", "dies", "cores", "threads")


class Place(NamedTuple):
    """Where a vCPU is: the socket in the machine, the die in it, the core in that, the thread in that."""

    socket: int
    die: int
    core: int
    thread: int


class Topology(NamedTuple):
    """`cpus` vCPUs are there from the start, of the `maxcpus` that all sockets have room for."""

    cpus: int
    maxcpus: int
    sockets: int
    dies: int
    cores: int
    threads: int

    @property
    def core_shift(self) -> int:
        """Bits of an APIC ID that tell the threads of a core apart."""
        return _bits(self.threads)

    @property
    def die_shift(self) -> int:
        """Bits below the die's number."""
        return self.core_shift + _bits(self.cores)

    @property
    def socket_shift(self) -> int:
        """Bits below the socket's number."""
        return self.die_shift + _bits(self.dies)

    @property
    def threads_per_die(self) -> int:
        """vCPUs of a die."""
        return self.cores * self.threads

    @property
    def threads_per_socket(self) -> int:
        """vCPUs of a socket."""
        return self.dies * self.threads_per_die

    def place(self, index: int) -> Place:
        """Where vCPU `index` is; neighbours are threads of a core, then cores of a die, and so on."""
        rest, thread = divmod(index, self.threads)
        rest, core = divmod(rest, self.cores)
        socket, die = divmod(rest, self.dies)
        return Place(socket, die, core, thread)

    def apic_id(self, index: int) -> int:
        """The APIC ID of vCPU `index`."""
        place = self.place(index)
        high = place.socket << self.socket_shift | place.die << self.die_shift
        return high | place.core << self.core_shift | place.thread

    def index_of(self, place: Place) -> int:
        """The vCPU at `place`; `IndexError` where the machine has no such place."""
        limits = (self.sockets, self.dies, self.cores, self.threads)
        for level, number, limit in zip(LEVELS, place, limits, strict=True):
            if not 0 <= number < limit:
                raise IndexError(f"{level}: {number} is not in 0-{limit - 1}")
        return (
            (place.socket * self.dies + place.die) * self.cores + place.core
        ) * self.threads + place.thread

    @property
    def apic_ids(self) -> tuple[int, ...]:
        """The APIC IDs of all `maxcpus`, by index."""
        return tuple(map(self.apic_id, range(self.maxcpus)))


def single_socket(cpus: int) -> Topology:
    """One socket of `cpus` cores with a thread each: what a number alone means."""
    return Topology(cpus, cpus, sockets=1, dies=1, cores=cpus, threads=1)


def topology(
    cpus: int | None = None,
    *,
    maxcpus: int | None = None,
    sockets: int | None = None,
    dies: int | None = None,
    cores: int | None = None,
    threads: int | None = None,
) -> Topology:
    """The topology of what is given, what is not filled in by QEMU's rules.

    Cores go before sockets, and those before threads, when there is something left to share out; the
    product of all levels is `maxcpus`, which is `cpus` unless given. Raises `ConfigError`.
    """
    given = {"cpus": cpus, "maxcpus": maxcpus, "sockets": sockets, "dies": dies}
    given |= {"cores": cores, "threads": threads}
    for name, value in given.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}, a number above 0 is right")
    dies = dies or 1
    total = maxcpus or cpus
    if total is None:
        sockets, cores, threads = sockets or 1, cores or 1, threads or 1
    elif cores is None:
        sockets, threads = sockets or 1, threads or 1
        cores = max(total // (sockets * dies * threads), 1)
    elif sockets is None:
        threads = threads or 1
        sockets = max(total // (dies * cores * threads), 1)
    elif threads is None:
        threads = max(total // (sockets * dies * cores), 1)
    assert cores is not None
    assert sockets is not None
    assert threads is not None
    product = sockets * dies * cores * threads
    total = total or product
    cpus = cpus or total
    _check(Topology(cpus, total, sockets, dies, cores, threads), product)
    return Topology(cpus, total, sockets, dies, cores, threads)


def _check(topology: Topology, product: int) -> None:
    _, maxcpus, sockets, dies, cores, threads = topology
    if product != maxcpus:
        levels = f"sockets ({sockets}) * dies ({dies}) * cores ({cores}) * threads ({threads})"
        raise ConfigError(
            f"{levels} != maxcpus ({maxcpus}), a product of the hierarchy that matches maxcpus is right"
        )
    if topology.cpus > maxcpus:
        raise ConfigError(
            f"maxcpus ({maxcpus}) < cpus ({topology.cpus}), maxcpus equal to or greater than cpus is right"
        )
    if maxcpus > MAX_VCPUS:
        raise ConfigError(f"{maxcpus} is out of range, at most {MAX_VCPUS} vCPUs are right")


def _bits(count: int) -> int:
    """Bits that numbers below `count` need."""
    return (count - 1).bit_length()
