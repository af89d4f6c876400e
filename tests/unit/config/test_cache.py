"""A text that was found valid is not validated again, and nothing else is different for it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.config import Override, cache, load_config, schema

WriteConfig = Callable[[str], Path]

TEXT = """
machine: {type: microvm, smp: 3, memory: 64M}
cpu: {model: "max,-x2apic"}
boot: {kernel: kernel, initrd: kernel, append: a b, protocol: flat, modules: [{path: kernel, string: s}]}
serial: ["file:log", "null"]
debugcon: stdio
isa_debug_exit: true
no_reboot: true
timeout: 1.5
perfmap: true
symbols: kernel
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mpvm" / "config"


def _forbid_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    def validate(_data: object) -> None:
        raise AssertionError("validated again")

    monkeypatch.setattr(schema, "validate", validate)


def test_a_remembered_configuration_is_the_validated_one(
    write_config: WriteConfig, guest: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(TEXT)
    validated = load_config(path)
    _forbid_validation(monkeypatch)
    assert load_config(path) == validated


@pytest.mark.usefixtures("guest", "folder")
def test_another_text_or_another_override_is_validated(write_config: WriteConfig) -> None:
    path = write_config(TEXT)
    assert load_config(path).machine.smp.cpus == 3
    assert load_config(path, [Override("machine.smp", 5, "--smp")]).machine.smp.cpus == 5
    with pytest.raises(ConfigError, match="--smp"):
        load_config(path, [Override("machine.smp", 0, "--smp")])
    assert load_config(write_config(TEXT.replace("smp: 3", "smp: 6"))).machine.smp.cpus == 6


def test_what_is_wrong_is_not_remembered(write_config: WriteConfig, folder: Path) -> None:
    with pytest.raises(ConfigError):
        load_config(write_config("machine: {smp: 0}\n"))
    assert not folder.exists()


def test_files_are_looked_at_on_every_run(write_config: WriteConfig, guest: Path, folder: Path) -> None:
    path = write_config(TEXT)
    load_config(path)
    guest.unlink()
    with pytest.raises(ConfigError, match=r":4: boot\..*kernel: no such file"):
        load_config(path)


@pytest.mark.usefixtures("guest")
@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"machine": {"colour": 1}}', "\x00"])
def test_a_damaged_entry_is_no_entry(write_config: WriteConfig, folder: Path, damage: str) -> None:
    path = write_config(TEXT)
    validated = load_config(path)
    (entry,) = folder.iterdir()
    entry.write_text(damage)
    assert load_config(path) == validated


@pytest.mark.usefixtures("guest")
def test_a_cache_that_can_not_be_written_is_done_without(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obstacle = tmp_path / "cache"
    obstacle.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(obstacle))
    assert load_config(write_config(TEXT)).machine.smp.cpus == 3


def test_a_folder_that_others_may_write_to_is_not_used(
    write_config: WriteConfig, guest: Path, folder: Path
) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    load_config(write_config(TEXT))
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("guest")
def test_the_oldest_entries_make_room(
    write_config: WriteConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 2)
    entries: list[Path] = []
    for smp in (1, 2, 3):
        load_config(write_config(TEXT.replace("smp: 3", f"smp: {smp}")))
        (new,) = set(folder.iterdir()) - set(entries)
        os.utime(new, (smp, smp))
        entries.append(new)
    assert set(folder.iterdir()) == set(entries[1:])


def test_a_remembered_configuration_costs_no_import_of_pydantic_or_yaml(
    write_config: WriteConfig, guest: Path, folder: Path
) -> None:
    path = write_config(TEXT)
    load_config(path)
    script = f"""
import sys
from pathlib import Path
from mpvm.config import load_config
load_config(Path({str(path)!r}))
print(sorted({{"pydantic", "pydantic_core", "yaml"}} & set(sys.modules)))
"""
    repository = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
