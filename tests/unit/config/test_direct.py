"""Validation without pydantic: it takes what the schema takes, as the schema takes it, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from mpvm.config import direct, schema
from mpvm.config.types import Config

RIGHT: list[dict[str, Any]] = [
    {},
    {"boot": {"kernel": "vmlinuz", "append": "quiet", "modules": [{"path": "a", "string": "a 1"}]}},
    {"machine": {"smp": "4,sockets=2,maxcpus=8", "memory": "512M", "accel": "kvm:unicorn"}},
    {"machine": {"type": "microvm", "smp": {"cpus": 2}}, "cpu": {"model": "max,+x2apic"}},
    {"serial": ["stdio", None, "file:log"], "debugcon": None, "isa_debug_exit": True},
    {"cputune": {"cpuset": "0-1", "vcpupin": [{"vcpu": 0, "cpuset": 1}], "nice": None}},
    {"devices": ["isa-debug-exit,iobase=0xf4", {"driver": "isa-debug-exit", "id": "second"}]},
    {"globals": {"isa-debug-exit.iosize": 2}, "timeout": 2, "qmp": "unix:sock", "log": ["int"]},
]
WRONG: list[dict[str, Any]] = [
    {"colour": "red"},
    {"boot": None},
    {"boot": []},
    {"boot": {"modules": [{"string": "no path"}]}},
    {"boot": {"modules": {"path": "a"}}},
    {"boot": {"modules": ["a"]}},
    {"machine": {"smp": 0.5}},
    {"machine": {"smp": True}},
    {"machine": {"type": "pdp-11"}},
    {"serial": "stdio"},
    {"serial": ["modem"]},
    {"isa_debug_exit": 1},
    {"cputune": {"vcpupin": [{"cpuset": 1}]}},
    {"devices": ["flux-capacitor"]},
    {"timeout": "soon"},
    {"log": ["everything"]},
]


@pytest.mark.parametrize("data", RIGHT, ids=lambda data: "-".join(data) or "nothing")
def test_what_is_right_is_the_configuration_that_the_schema_makes_of_it(data: dict[str, Any]) -> None:
    config = direct.validate(data)
    assert isinstance(config, Config)
    assert config == schema.validate(data)


@pytest.mark.parametrize("data", WRONG, ids=str)
def test_what_the_schema_refuses_is_not_right(data: dict[str, Any]) -> None:
    assert direct.validate(data) is None
    assert not isinstance(schema.validate(data), Config)


def test_every_configuration_that_comes_with_the_project_is_right() -> None:
    from mpvm.config.document import parse

    for path in Path("configs").glob("*.yaml"):
        assert isinstance(direct.validate(parse(path.read_text(), path.name).data), Config), path
