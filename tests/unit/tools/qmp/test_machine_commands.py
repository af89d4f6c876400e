"""What the VM is made of, and could be, over QMP."""

import json
from typing import Any

import pytest

from mpvm.cpu.models import model_names
from mpvm.machine import machine_names
from mpvm.tools.qmp import commands  # noqa: F401 - registers them
from mpvm.tools.qmp.session import Session
from tests.unit.tools.qmp.fake_vm import FakeVm


@pytest.fixture
def session() -> Session:
    session = Session(FakeVm())
    ask(session, "qmp_capabilities")
    return session


def ask(session: Session, command: str) -> Any:
    return session.execute(json.dumps({"execute": command}).encode())["return"]


def test_every_machine_class_is_listed_and_one_is_the_default(session: Session) -> None:
    machines = ask(session, "query-machines")
    names = {each["name"] for each in machines} | {each["alias"] for each in machines if "alias" in each}
    assert names == set(machine_names())
    assert [each["alias"] for each in machines if each.get("is-default")] == ["pc"]


def test_every_cpu_model_is_listed_with_what_the_accelerator_lacks(session: Session) -> None:
    models = {each["name"]: each for each in ask(session, "query-cpu-definitions")}
    assert list(models) == [name for name, _alias_of in model_names()]
    assert models["max"]["unavailable-features"] == []
    assert "avx" in models["Haswell"]["unavailable-features"]
    assert models["Haswell"]["alias-of"] == "Haswell-v1"
    assert not models["host"]["migration-safe"]
    assert models["Haswell-v1"]["migration-safe"]


def test_kvm_is_not_enabled_under_another_accelerator(session: Session) -> None:
    assert ask(session, "query-kvm")["enabled"] is False
