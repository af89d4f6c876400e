"""Regions of registers and of memory, and registers that are published for workers to answer."""

from collections.abc import Callable


class ShadowRegister:
    """A register whose read has no side effect, published so that workers answer the read themselves.

    The device calls `set_constant` or `set_counter` whenever the register changes, and
    `set_synchronous` while a read has a side effect; until the machine binds a publisher the register
    is only remembered. `read` is what a worker computes.
    """

    __slots__ = ("_publish", "counter", "published", "value")

    def __init__(self) -> None:
        self.value = 0
        # False: workers must not answer, every read comes to the device
        self.published = True
        # (value at base_ns, base_ns, hz, mask) for a counter, None for a constant
        self.counter: tuple[int, int, int, int] | None = None
        self._publish: Callable[[ShadowRegister], None] | None = None

    def set_constant(self, value: int) -> None:
        """The register reads as `value` from now on."""
        if self.published and self.counter is None and value == self.value:
            return
        self.published = True
        self.counter = None
        self.value = value
        if self._publish is not None:
            self._publish(self)

    def set_counter(self, value: int, base_ns: int, hz: int, mask: int) -> None:
        """The register reads as ``(value + (now - base_ns) * hz / 10**9) & mask`` from now on."""
        self.published = True
        self.counter = (value, base_ns, hz, mask)
        if self._publish is not None:
            self._publish(self)

    def set_synchronous(self) -> None:
        """Every read exits to the device from now on, until the next `set_constant` or `set_counter`."""
        if not self.published:
            return
        self.published = False
        if self._publish is not None:
            self._publish(self)

    def bind(self, publish: Callable[["ShadowRegister"], None]) -> None:
        """Publish through `publish`, now and at every change; it looks at `published` first."""
        self._publish = publish
        publish(self)

    def read(self, now: int) -> int:
        """The value at `now` (ns)."""
        if self.counter is None:
            return self.value
        value, base_ns, hz, mask = self.counter
        return (value + (now - base_ns) * hz // 1_000_000_000) & mask


class Region:
    """A range of ports or of memory that a device answers.

    `read(offset, size)` and `write(offset, size, value)` get offsets from the region's start and
    sizes 1, 2, 4 (8 for memory). `posted`: offsets whose write nobody waits for, `ignored`: those whose
    write does nothing at all. `shadows`: offset to the register that is published there. `strings`: offset to
    what takes several bytes for it at once.
    """

    def __init__(
        self,
        name: str,
        size: int,
        read: Callable[[int, int], int],
        write: Callable[[int, int, int], None],
        *,
        posted: frozenset[int] = frozenset(),
        ignored: frozenset[int] = frozenset(),
        shadows: dict[int, ShadowRegister] | None = None,
        strings: dict[int, Callable[[bytes], None]] | None = None,
    ) -> None:
        self.name = name
        self.size = size
        self.read = read
        self.write = write
        self.posted = posted
        self.ignored = ignored
        self.shadows = shadows or {}
        self.strings = strings or {}


class RamRegion(Region):
    """A region of memory: what is written to it is read back, by accesses of any size.

    `contents` is its own until a machine binds it to memory that guests reach without the device.
    """

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name, size, self._read, self._write)
        self.contents = memoryview(bytearray(size))
        self._store: Callable[[int, bytes], None] = self._store_here

    def bind(self, contents: memoryview, store: Callable[[int, bytes], None]) -> None:
        """Be the memory `contents` of the same size, which gets what this has had.

        `store(offset, data)` is how others than vCPUs store there from now on.
        """
        contents[:] = self.contents
        self.contents, self._store = contents, store

    def load(self, data: bytes) -> None:
        """Have the contents `data`."""
        self._store(0, data)

    def _read(self, offset: int, size: int) -> int:
        return int.from_bytes(self.contents[offset : offset + size], "little")

    def _write(self, offset: int, size: int, value: int) -> None:
        self._store(offset, value.to_bytes(size, "little"))

    def _store_here(self, offset: int, data: bytes) -> None:
        self.contents[offset : offset + len(data)] = data
