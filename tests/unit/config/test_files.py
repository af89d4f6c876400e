"""Files that a configuration names: where they are looked for, and what is said when they are not there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.config import Config, Override, load, load_config

WriteConfig = Callable[[str], Path]
MakeConfig = Callable[..., Config]


def test_paths_are_relative_to_the_configurations_folder(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("k", "i", "m"):
        (tmp_path / name).touch()
    path = write_config("boot: {kernel: k, initrd: i, modules: [{path: m}]}\nserial: ['file:s']\n")
    monkeypatch.chdir("/")
    boot = load_config(path).boot
    assert (boot.kernel, boot.initrd, boot.modules[0].path) == (
        tmp_path / "k",
        tmp_path / "i",
        tmp_path / "m",
    )


def test_paths_of_options_are_relative_to_the_current_folder(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "k").touch()
    monkeypatch.chdir(elsewhere)
    config = load_config(write_config("{}"), [Override("boot.kernel", "k", "--kernel")])
    assert config.boot.kernel == elsewhere / "k"


def test_a_file_that_an_option_replaces_need_not_be_there(write_config: WriteConfig, guest: Path) -> None:
    path = write_config("boot: {kernel: absent}\n")
    assert load_config(path, [Override("boot.kernel", str(guest), "--kernel")]).boot.kernel == guest


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    right = "the path of a YAML configuration is right"
    assert str(caught.value) == f"{path}: no such file or directory, {right}"


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a directory, the path of a YAML configuration is right"):
        load_config(tmp_path)


def test_an_endless_file_is_no_configuration() -> None:
    with pytest.raises(
        ConfigError, match=r"/dev/zero: more than 1048576 bytes, a YAML configuration is right"
    ):
        load_config(Path("/dev/zero"))


@pytest.mark.parametrize("key", ["initrd", "kernel"])
def test_a_missing_image_is_named_with_the_key(write_config: WriteConfig, tmp_path: Path, key: str) -> None:
    (tmp_path / "k").touch()
    path = write_config(
        f"boot:\n  kernel: k\n  {key}: absent\n" if key == "initrd" else "boot:\n  kernel: absent\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    line = 3 if key == "initrd" else 2
    missing = f"{path}:{line}: boot.{key}: {tmp_path / 'absent'}: no such file or directory, the path of "
    assert str(caught.value).startswith(missing)


def test_a_missing_module_is_named_with_its_place(write_config: WriteConfig, guest: Path) -> None:
    path = write_config(f"boot:\n  kernel: {guest}\n  modules:\n  - path: {guest}\n  - path: absent\n")
    with pytest.raises(ConfigError, match=r":5: boot\.modules\[1\]\.path: .*absent: no such file"):
        load_config(path)


def test_a_folder_is_no_kernel(write_config: WriteConfig, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"boot.kernel: .*: not a file, the path of a kernel image or builtin:smp"
    ):
        load_config(write_config(f"boot: {{kernel: {tmp_path}}}\n"))


def test_an_image_that_may_not_be_read_is_refused(
    machine_config: MakeConfig, guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By the answer of access(2), not by file modes: for root, every file is readable.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != guest)
    with pytest.raises(
        ConfigError, match=r"boot.kernel: .*kernel: permission denied, a file that you can read"
    ):
        machine_config()


def test_a_name_that_is_too_long_for_a_file_is_refused(write_config: WriteConfig) -> None:
    with pytest.raises(ConfigError, match=r"boot.kernel: .*: file name too long, the path of a kernel image"):
        load_config(write_config(f"boot: {{kernel: {'k' * 300}}}\n"))


def test_a_builtin_guest_is_the_packages_own(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_GUESTS", tmp_path)
    (tmp_path / "smp.elf").touch()
    assert load_config(write_config("boot: {kernel: 'builtin:smp'}\n")).boot.kernel == tmp_path / "smp.elf"


def test_an_unknown_builtin_guest_is_refused(write_config: WriteConfig) -> None:
    with pytest.raises(ConfigError, match=r"boot.kernel: builtin:doom is not accepted, builtin:smp is right"):
        load_config(write_config("boot: {kernel: 'builtin:doom'}\n"))


def test_a_builtin_guest_that_was_not_built_says_what_builds_it(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_GUESTS", tmp_path)
    with pytest.raises(
        ConfigError, match=r"builtin:smp is not built: .*smp.elf is missing, `pip install .` builds"
    ):
        load_config(write_config("boot: {kernel: 'builtin:smp'}\n"))


@pytest.mark.parametrize("name", ["absent/log", "."])
def test_a_chardevs_file_needs_a_folder(machine_config: MakeConfig, name: str) -> None:
    with pytest.raises(
        ConfigError, match=r":\d+: debugcon: .*: can't be made, file:PATH in a folder that exists"
    ):
        machine_config(debugcon=f"file:{name}")


def test_only_one_line_can_be_the_terminal(machine_config: MakeConfig) -> None:
    right = "null or file:PATH is right"
    with pytest.raises(ConfigError, match=rf"serial\[2\]: stdio is taken by serial\[0\] already, {right}"):
        machine_config(serial=["stdio", "null", "stdio"])
    with pytest.raises(ConfigError, match=rf"debugcon: stdio is taken by serial\[0\] already, {right}"):
        machine_config(debugcon="stdio")


REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["4cpu", "microvm-4cpu", "linux-4cpu"])
def test_the_configurations_we_ship_are_valid(
    name: str, guest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_GUESTS", tmp_path)
    (tmp_path / "smp.elf").touch()
    overrides = []
    if name.startswith("linux"):
        overrides = [Override(f"boot.{key}", str(guest), f"--{key}") for key in ("kernel", "initrd")]
    config = load_config(REPOSITORY / "configs" / f"{name}.yaml", overrides)
    assert config.machine.smp.cpus == 4


def test_a_symbol_table_is_a_file_that_is_there(machine_config: MakeConfig, guest: Path) -> None:
    (guest.parent / "System.map").touch()
    assert machine_config(perfmap=True, symbols="System.map").symbols == guest.parent / "System.map"
    with pytest.raises(ConfigError, match=r"symbols: .*/absent: no such file or directory, the path of a "):
        machine_config(perfmap=True, symbols="absent")


def test_symbols_that_nothing_asks_for_are_refused(machine_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"symbols: .*, perfmap: true or --perfmap is right$"):
        machine_config(symbols="kernel")
