"""The YAML configuration of a machine: read, validated, and handed on as named tuples.

`load_config` is the only reader of `configs/`. Importing this package costs no third-party import:
YAML and pydantic are loaded when a text has to be checked that was not checked before (`cache`).
"""

from mpvm.config.chardevs import ChardevSpec
from mpvm.config.load import Override, load_config
from mpvm.config.types import (
    Action,
    Boot,
    Config,
    Cpu,
    CpuTune,
    Device,
    FwCfgItem,
    Global,
    Machine,
    Module,
    Rtc,
    VcpuPin,
)

__all__ = [
    "Action",
    "Boot",
    "ChardevSpec",
    "Config",
    "Cpu",
    "CpuTune",
    "Device",
    "FwCfgItem",
    "Global",
    "Machine",
    "Module",
    "Override",
    "Rtc",
    "VcpuPin",
    "load_config",
]
