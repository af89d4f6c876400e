"""`mpvm cpu`: models listed, shown and compared, for people and as JSON."""

import json

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.cli import cpu
from mpvm.cpu.models import model_names


def output(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cpu.main(argv) == 0
    return capsys.readouterr().out


def test_the_list_has_every_model_version_and_alias(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "list").splitlines()
    assert [line.split()[0] for line in lines] == [name for name, _ in model_names()]
    assert "max                        all that the accelerator does well" in lines
    assert "Haswell-noTSX              is Haswell-v2" in lines
    assert "EPYC-v2                    AMD EPYC Processor (with IBPB)" in lines


def test_the_list_as_json_says_what_an_alias_stands_for(capsys: pytest.CaptureFixture[str]) -> None:
    models = {each["name"]: each for each in json.loads(output(capsys, "list", "--json"))["models"]}
    assert models["Haswell-noTSX"]["alias_of"] == "Haswell-v2"
    assert models["Haswell-v2"]["alias_of"] is None


def test_a_model_is_shown_by_feature_word_with_what_is_left_out_and_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = output(capsys, "show", "SandyBridge,+avx2,-nx").splitlines()
    words = [line.split() for line in lines]
    assert ["vendor", "GenuineIntel"] in words
    assert ["family", "6"] in words
    assert ["CPUID.80000001H:EDX", "syscall", "rdtscp", "lm"] in words
    assert "switched on by default   tsc-adjust invtsc kvm-steal-time" in lines
    assert "switched off by default  vme" in lines
    left_out = lines[lines.index("left out:") + 1 :]
    assert [line.split(maxsplit=1) for line in left_out] == [
        ["avx", "unicorn doesn't support it"],
        ["avx2", "unicorn doesn't support it"],
    ]


def test_a_model_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(output(capsys, "show", "max,+avx", "--json"))
    assert found["unavailable"] == {"avx": "unicorn doesn't support it"}
    assert found["features"]["CPUID.06H:EAX"] == ["arat"]
    assert (found["vendor"], found["level"]) == ("GenuineIntel", 0x16)
    assert found["switched_on"] == []


def test_two_models_are_compared_as_the_table_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "compare", "Haswell", "Broadwell-noTSX").splitlines() == [
        "only in Haswell:",
        "  CPUID.07H:EBX  hle rtm",
        "only in Broadwell-noTSX:",
        "  CPUID.07H:EBX  rdseed adx smap",
        "  CPUID.80000001H:ECX  3dnowprefetch",
        "differ in:",
        "  model  60, 61",
        "  stepping  4, 2",
        "  model_id  Intel Core Processor (Haswell), Intel Core Processor (Broadwell, no TSX)",
    ]


def test_two_models_are_compared_under_an_accelerator(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("compare", "Haswell", "Haswell-noTSX", "--accel", "unicorn", "--json")
    found = json.loads(output(capsys, *words))
    assert found["only_in_first"] == found["only_in_second"] == {}
    assert found["differ"]["stepping"] == [4, 1]


@pytest.mark.parametrize(
    "words", [("show", "Haswel"), ("compare", "max", "Haswel"), ("compare", "EPYC", "Haswel")]
)
def test_a_model_that_there_is_not_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^'Haswel' is no CPU model; Haswell or Haswell-IBRS is right"):
        cpu.main(words)


def test_an_accelerator_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="xen"):
        cpu.main(["show", "max", "--accel", "xen"])
