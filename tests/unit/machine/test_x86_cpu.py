"""vCPUs in the composition tree: types by model, features and place as properties."""

from pathlib import Path

import pytest

from mpvm.abi.errors import PropertyError
from mpvm.accel.unicorn import UnicornAccelerator
from mpvm.cpu.models import model_names
from mpvm.cpu.resolve import resolve_model
from mpvm.cpu.topology import topology
from mpvm.machine.x86_cpu import X86Cpu, cpu_place, x86_cpu_class
from mpvm.qom.type_info import object_class_by_name, object_class_get_list

TWELVE = topology(sockets=2, cores=3, threads=2)


def cpu(text: str, index: int = 0) -> X86Cpu:
    model = resolve_model(text, UnicornAccelerator())
    made = x86_cpu_class(model.name)()
    made.cpu_model, made.place = model, TWELVE.place(index)
    return made


def test_each_model_is_a_type_below_the_abstract_one() -> None:
    types = {cls.type_name for cls in object_class_get_list("x86_64-cpu")}
    assert types == {f"{name}-x86_64-cpu" for name, _ in model_names()}
    assert object_class_by_name("Haswell-noTSX-x86_64-cpu").class_properties["avx"].kind == "bool"
    assert X86Cpu.abstract


def test_features_are_properties() -> None:
    haswell = cpu("Haswell,-sse4.2")
    assert haswell.type_name == "Haswell-x86_64-cpu"
    assert haswell.get_property("bmi2") is True
    assert haswell.get_property("sse4.2") is False
    assert haswell.get_property("avx") is False
    assert {"avx", "avx2"} <= set(haswell.get_property("unavailable-features"))
    assert {"avx", "family", "index"} <= haswell.properties().keys()


def test_what_the_model_says_of_itself_is_properties() -> None:
    epyc = cpu("EPYC-Rome,stepping=3")
    values = [
        epyc.get_property(name) for name in ("vendor", "family", "model", "stepping", "model-id", "level")
    ]
    assert values == ["AuthenticAMD", 23, 49, 3, "AMD EPYC-Rome Processor", 0xD]
    with pytest.raises(PropertyError, match="read-only"):
        epyc.set_property("avx", True)


def test_the_place_is_properties() -> None:
    names = ("socket-id", "die-id", "core-id", "thread-id")
    assert [cpu("max", 9).get_property(name) for name in names] == [1, 0, 1, 1]
    assert cpu_place(TWELVE, 9) == {"socket-id": 1, "core-id": 1, "thread-id": 1}
    assert cpu_place(topology(4, dies=2), 3) == {"socket-id": 0, "die-id": 1, "core-id": 1, "thread-id": 0}


def test_a_start_makes_no_type_of_a_model_that_it_does_not_use(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from mpvm.machine import x86; from mpvm.machine.x86_cpu import x86_cpu_class;"
        "x86_cpu_class('max');"
        "from mpvm.qom.type_info import registered_types;"
        "assert [c.type_name for c in registered_types('x86_64-cpu')] == ['max-x86_64-cpu'];"
        "assert 'mpvm.cpu.table' not in sys.modules and 'mpvm.cpu.host' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
