"""Finds types that no imported module has registered: mpvm's own modules first, then plug-ins.

A plain run needs neither: its machine imports what it is made of. A plug-in is a package whose entry points
in the group ``mpvm.types`` name modules; importing one registers its types.
"""

import importlib
import sys
from typing import Any, Final

from mpvm.qom.type_info import type_by_name

ENTRY_POINT_GROUP: Final = "mpvm.types"
# Where types of our own are. By name: this package is below them.
_PACKAGES: Final = ("mpvm.qom", "mpvm.accel", "mpvm.cpu", "mpvm.hw", "mpvm.machine")

_MODULES: Final = ("mpvm.coordinator.main_loop",)

# Which module has a type that a user adds to a machine whose own modules do not have it, so that adding one
# does not import them all (QEMU's qemu_load_module_for, util/module.c).
_MODULE_OF: Final = {
    "edu": "mpvm.hw.misc.edu",
    "intel-iommu": "mpvm.hw.iommu.intel_iommu",
    "pc-testdev": "mpvm.hw.misc.pc_testdev",
    "pci-testdev": "mpvm.hw.misc.pci_testdev",
}

_loaded: Final[set[str]] = set()


def find_type(name: str) -> type[Any] | None:
    """The type called `name`, after loading what may have it."""
    if name in _MODULE_OF:
        importlib.import_module(_MODULE_OF[name])
        return type_by_name(name)
    for load in (load_own, load_plugins):
        load()
        if (found := type_by_name(name)) is not None:
            return found
    return None


def load_all() -> None:
    """Load every type there is."""
    load_own()
    load_plugins()
    type_by_name("")


def load_own() -> None:
    """Import every module of mpvm that may have types."""
    if _once("own"):
        import pkgutil

        for package_name in _PACKAGES:
            package = importlib.import_module(package_name)
            for module in pkgutil.walk_packages(package.__path__, package_name + "."):
                importlib.import_module(module.name)
        for name in _MODULES:
            importlib.import_module(name)


def load_plugins() -> None:
    """Import every plug-in. One that fails costs a line on stderr, and its types are not there."""
    if not _once("plug-ins"):
        return
    from importlib.metadata import entry_points

    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP)):
        try:
            entry.load()
            type_by_name("")
        except Exception as error:  # whatever its code raises, the run goes on without it
            package = entry.dist.name if entry.dist is not None else entry.value
            said = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"mpvm: plug-in {entry.name} of package {package} can't be loaded: {said}", file=sys.stderr)


def _once(what: str) -> bool:
    first = what not in _loaded
    _loaded.add(what)
    return first
