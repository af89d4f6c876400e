"""The steps of the main function that decide something; test_vm.py has its order."""

import pytest

from mpvm.abi.errors import ObjectTypeError, StartError
from mpvm.accel.configure import configure_accelerators
from mpvm.accel.kvm import KvmAccelerator
from mpvm.accel.unicorn import UnicornAccelerator


def _refuse(_accelerator: object) -> None:
    raise StartError("/dev/kvm: no such file or directory, a host with KVM is right")


def _accept(_accelerator: object) -> None:
    return


def test_the_first_accelerator_of_a_list_that_the_host_can_run_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(KvmAccelerator, "check", _accept)
    assert isinstance(configure_accelerators("kvm:unicorn"), KvmAccelerator)
    assert isinstance(configure_accelerators("unicorn:kvm"), UnicornAccelerator)
    assert capsys.readouterr().err == ""


def test_each_accelerator_that_the_host_can_not_run_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(KvmAccelerator, "check", _refuse)
    assert isinstance(configure_accelerators("kvm:unicorn"), UnicornAccelerator)
    assert capsys.readouterr().err == (
        "mpvm: failed to initialize kvm: /dev/kvm: no such file or directory, a host with KVM is right\n"
        "mpvm: falling back to unicorn\n"
    )


def test_what_comes_behind_the_one_that_is_taken_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(KvmAccelerator, "check", _refuse)
    assert isinstance(configure_accelerators("kvm:unicorn:warp"), UnicornAccelerator)
    assert capsys.readouterr().err.endswith("mpvm: falling back to unicorn\n")


def test_the_last_of_the_list_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KvmAccelerator, "check", _refuse)
    with pytest.raises(StartError, match="/dev/kvm"):
        configure_accelerators("kvm")


def test_what_is_no_accelerator_is_no_reason_to_fall_back() -> None:
    with pytest.raises(ObjectTypeError, match="accelerator 'warp' is unknown, kvm or unicorn is right"):
        configure_accelerators("warp:unicorn")
