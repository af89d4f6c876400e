"""The caches that CPU models describe, and how leaves 2, 4, 0x80000005, 6 and 0x1d say it.

Source: SDM vol. 2, CPUID; AMD APM vol. 3, appendix E. Sizes are those of QEMU's models.
"""

from typing import Final, NamedTuple

LINE_BYTES: Final = 64
DATA, INSTRUCTION, UNIFIED = 1, 2, 3

# EDX of leaves 4 and 0x8000001d.
NO_INVD_SHARING, INCLUSIVE, COMPLEX_INDEXING = 1 << 0, 1 << 1, 1 << 2
_SELF_INITIALIZING: Final = 1 << 8


class Cache(NamedTuple):
    """A cache: `type` as leaf 4 has it, its level, size, associativity and flags."""

    type: int
    level: int
    kib: int
    ways: int
    flags: int = 0

    @property
    def sets(self) -> int:
        """Sets of `ways` lines of 64 bytes."""
        return self.kib * 1024 // (LINE_BYTES * self.ways)

    def deterministic(self, sharing: int, cores: int = 1) -> tuple[int, int, int, int]:
        """EAX to EDX of leaf 4, or 0x8000001d with `cores` 1.

        `sharing`: APIC IDs set aside for those who share the cache; `cores`: those set aside for cores.
        """
        eax = self.type | self.level << 5 | _SELF_INITIALIZING | sharing - 1 << 14 | cores - 1 << 26
        return eax, LINE_BYTES - 1 | self.ways - 1 << 22, self.sets - 1, self.flags

    @property
    def amd_l1(self) -> int:
        """ECX or EDX of leaf 0x80000005."""
        return self.kib << 24 | self.ways << 16 | 1 << 8 | LINE_BYTES

    @property
    def amd_l2(self) -> int:
        """ECX of leaf 0x80000006."""
        return self.kib << 16 | _AMD_WAYS[self.ways] << 12 | 1 << 8 | LINE_BYTES

    @property
    def amd_l3(self) -> int:
        """EDX of leaf 0x80000006, the size in units of 512 KiB."""
        return self.kib // 512 << 18 | _AMD_WAYS[self.ways] << 12 | 1 << 8 | LINE_BYTES


# AMD's encoding of associativity (APM vol. 3, table E-4).
_AMD_WAYS: Final = {1: 1, 2: 2, 4: 4, 8: 6, 16: 8}

# For CPUs without leaf 4 (SDM vol. 2, table 3-12), a byte each: 32 KiB L1 data and instructions, 2 MiB L2.
LEAF2_DESCRIPTORS: Final = 0x002C307D
# "Leaf 4 says it".
LEAF2_USE_LEAF4: Final = 0xFF

# L1 data, L1 instructions, L2, L3.
_L1: Final = (Cache(DATA, 1, 32, 8, NO_INVD_SHARING), Cache(INSTRUCTION, 1, 32, 8, NO_INVD_SHARING))
_SHARED: Final = INCLUSIVE | COMPLEX_INDEXING
CACHES: Final = {
    "legacy": (*_L1, Cache(UNIFIED, 2, 4096, 16, NO_INVD_SHARING), Cache(UNIFIED, 3, 16384, 16, _SHARED)),
    "legacy-amd": (
        *(Cache(DATA, 1, 64, 2, NO_INVD_SHARING), Cache(INSTRUCTION, 1, 64, 2, NO_INVD_SHARING)),
        *(Cache(UNIFIED, 2, 512, 16, NO_INVD_SHARING), Cache(UNIFIED, 3, 16384, 16, _SHARED)),
    ),
    "zen": (
        *(_L1[0], Cache(INSTRUCTION, 1, 64, 4, NO_INVD_SHARING)),
        *(Cache(UNIFIED, 2, 512, 8), Cache(UNIFIED, 3, 8192, 16, _SHARED)),
    ),
    "zen2": (*_L1, Cache(UNIFIED, 2, 512, 8), Cache(UNIFIED, 3, 16384, 16, _SHARED)),
    "zen3": (*_L1, Cache(UNIFIED, 2, 512, 8), Cache(UNIFIED, 3, 32768, 16, _SHARED)),
}

# TLBs of leaves 0x80000005 (L1: 255 entries each) and 0x80000006 (L2: 512 entries of 4 KiB pages, 4-way).
AMD_L1_TLB: Final = 0x01FF01FF
AMD_L2_TLB: Final = 0x42004200
