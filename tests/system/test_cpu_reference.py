"""The table of CPU models and the names of features against what QEMU reports by QMP."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import pytest

from mpvm.cpu.features import FEATURES, WORD_SOURCES, CpuidRegister
from mpvm.cpu.models import SPECIAL_MODELS, defined_model, model_names
from mpvm.cpu.resolve import resolve_model
from tests.system import reference
from tests.unit.cpu.capable import CAPABLE

# QEMU's TCG switches this off in every model, and nothing tells then what the model has.
_UNKNOWN: Final = {"vme"}
# Features that have a second bit, or none that QEMU shows without KVM: words that TCG has not got.
_NOT_SHOWN: Final = {word for word, source in WORD_SOURCES.items() if not isinstance(source, CpuidRegister)}
_REGISTERS: Final = ("EAX", "EBX", "ECX", "EDX")


class Execute(Protocol):
    """Executes a QMP command, returns its result."""

    def __call__(self, command: str, **arguments: Any) -> Any: ...


@contextmanager
def qemu(*options: str) -> Iterator[Execute]:
    """QEMU with TCG and its QMP server."""
    command = [reference.PROGRAM, "-accel", "tcg", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio"]
    process = subprocess.Popen(
        [*command, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, replies = process.stdin, process.stdout

    def execute(command: str, **arguments: Any) -> Any:
        print(json.dumps({"execute": command, "arguments": arguments}), file=requests, flush=True)
        for line in replies:
            reply = json.loads(line)
            if "return" in reply:
                return reply["return"]
            assert "error" not in reply, reply
        raise AssertionError(f"QEMU has ended before it answered {command}")

    try:
        execute("qmp_capabilities")
        yield execute
        execute("quit")
    finally:
        requests.close()
        replies.close()
        process.wait(30)


@pytest.fixture(scope="module")
def models() -> dict[str, dict[str, Any]]:
    """QEMU's models by name: the properties of each, and `alias-of`."""
    with qemu("-machine", "none") as execute:
        return {
            each["name"]: {
                **execute("query-cpu-model-expansion", type="full", model={"name": each["name"]})["model"][
                    "props"
                ],
                "alias-of": each.get("alias-of"),
            }
            for each in execute("query-cpu-definitions")
            if each["name"] not in SPECIAL_MODELS
        }


def test_the_table_has_all_models_versions_and_aliases(models: dict[str, dict[str, Any]]) -> None:
    ours = dict(model_names())
    assert ours == {
        **dict.fromkeys(SPECIAL_MODELS),
        **{name: each["alias-of"] for name, each in models.items()},
    }


def test_every_model_is_as_qemu_has_it(models: dict[str, dict[str, Any]]) -> None:
    for name in (
        name for name, stands_for in model_names() if stands_for is None and name not in SPECIAL_MODELS
    ):
        ours, theirs = resolve_model(name, CAPABLE), models[name]
        assert ours.features == defined_model(name).features
        features = {feature for feature in FEATURES if theirs.get(feature) is True}
        assert ours.features - _UNKNOWN == features - _UNKNOWN, name
        for field, key in (("model_id", "model-id"), ("level", "min-level"), ("xlevel", "min-xlevel")):
            assert getattr(ours, field) == theirs[key], (name, field)
        for field in ("vendor", "family", "model", "stepping"):
            assert getattr(ours, field) == theirs[field], (name, field)
        assert (ours.caches == "legacy") == theirs["legacy-cache"], name


def test_every_feature_is_the_bit_that_qemu_has_for_it() -> None:
    # Each feature is switched on in a run for every 1 of its number: a bit's runs spell its feature.
    names = [name for name, (word, _) in FEATURES.items() if word not in _NOT_SHOWN and "kvm" not in name]
    spelled: dict[tuple[CpuidRegister, int], int] = defaultdict(int)
    for run in range(len(names).bit_length()):
        switched = ",".join(f"{name}=on" for number, name in enumerate(names, 1) if number >> run & 1)
        with qemu("-machine", "pc", "-cpu", f"base,check=off,{switched}") as execute:
            for which in ("feature-words", "filtered-features"):
                path = "/machine/unattached/device[0]"
                for word in execute("qom-get", path=path, property=which):
                    register = _REGISTERS.index(word["cpuid-register"])
                    place = CpuidRegister(word["cpuid-input-eax"], word.get("cpuid-input-ecx"), register)
                    for bit in range(32):
                        spelled[place, bit] |= (word["features"] >> bit & 1) << run
    ours = {}
    for name in names:
        word, bit = FEATURES[name]
        source = WORD_SOURCES[word]
        assert isinstance(source, CpuidRegister)
        ours[name] = (source, bit)
    assert {name: spelled[place] for name, place in ours.items()} == {
        name: number for number, name in enumerate(names, 1)
    }
