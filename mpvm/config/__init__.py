"""The YAML configuration of a machine: read, validated, and handed on as named tuples.

`load_config` is the only reader of `configs/`. Importing this package costs no third-party import:
YAML and pydantic are loaded when a text has to be checked that was not checked before (`cache`).
"""

from mpvm.config.load import Override, load_config
from mpvm.config.types import (
    Boot,
    ChardevSpec,
    Config,
    Cpu,
    CpuTune,
    Device,
    Global,
    Machine,
    Module,
    VcpuPin,
)

__all__ = [
    "Boot",
    "ChardevSpec",
    "Config",
    "Cpu",
    "CpuTune",
    "Device",
    "Global",
    "Machine",
    "Module",
    "Override",
    "VcpuPin",
    "load_config",
]
