"""What -device takes, for -device help: as data, so that nobody who asks waits for all devices' modules."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    # Name, bus and description.
    Listed = tuple[str, str, str]

# Those of mpvm's own (tests/unit/cli/system compares it with the types), by QEMU's headings and with the
# descriptions that QEMU has of a few.
DEVICES: dict[str, tuple[Listed, ...]] = {
    "Input": (("isa-debugcon", "ISA", ""), ("isa-serial", "ISA", "")),
    "Misc": (
        ("edu", "PCI", ""),
        ("intel-iommu", "System", "Intel IOMMU (VT-d) DMA Remapping device"),
        ("isa-debug-exit", "ISA", ""),
        ("pc-testdev", "ISA", ""),
        ("pci-testdev", "PCI", "PCI Test Device"),
    ),
}
_PLUG_INS = "Uncategorized"
_ENTRY_POINTS = "entry_points.txt"


def by_heading() -> Iterator[tuple[str, Sequence[Listed]]]:
    """Each heading with its devices; those of plug-ins, if there are any, come last."""
    yield from DEVICES.items()
    if _may_have_plug_ins():
        from mpvm.qom.type_info import object_class_get_list

        own = {name for devices in DEVICES.values() for name, _bus, _text in devices}
        others = [
            cls for cls in object_class_get_list("device") if cls.user_creatable and cls.type_name not in own
        ]
        if others:
            yield _PLUG_INS, [(cls.type_name, cls.bus_type or "", cls.description) for cls in others]


def _may_have_plug_ins() -> bool:
    """Whether a package has entry points of our group. It looks at files: importlib.metadata takes longer."""
    from mpvm.qom.loading import ENTRY_POINT_GROUP

    heading = f"[{ENTRY_POINT_GROUP}]".encode()
    for folder in sys.path:
        try:
            packages = [entry.path for entry in os.scandir(folder or ".") if entry.name.endswith("-info")]
        except OSError:
            continue
        for package in packages:
            try:
                with open(f"{package}/{_ENTRY_POINTS}", "rb") as file:  # noqa: PTH123 - as fast as can be
                    if heading in file.read():
                        return True
            except OSError:
                continue
    return False
