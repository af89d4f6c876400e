"""Litmus guests on an engine core whose steps come late (docs/coherence.md, "Late steps"): none may fail.

And a core that lacks one rule of what vCPUs do with each other must fail: else the delays would show nothing.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system import debian, litmus
from tests.system.runner import Launcher

_SMP = 3
_GUESTS = ["accessed-dirty", "code", "ipi", "locks", "nmi", "shootdown", "sipi"]
_SEED = 1


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return litmus.late_core(tmp_path_factory.mktemp("core"))


@pytest.mark.parametrize("name", _GUESTS)
def test_no_step_that_comes_late_shows_a_forbidden_outcome(
    launch: Launcher, core: Path, images: dict[str, Path], name: str
) -> None:
    late = litmus.late(core, str(_SEED))
    run = litmus.on_mpvm(launch, images[f"litmus-{name}"], _SMP, "part=4", environment=late)
    assert run.status == litmus.PASSED, run


class Mutant(NamedTuple):
    """`old` in a source of the core becomes `new`; a guest shows it where `step` is late."""

    source: str
    old: str
    new: str
    step: str
    guest: str
    command_line: str


_MUTANTS = {
    "a store does not wait until others have dropped their code": Mutant(
        "coherence.c",
        "        await(vcpu, (unsigned)__builtin_ctzll(rest), outside_or_answered);\n",
        "        kick_vcpu(vcpu, (unsigned)__builtin_ctzll(rest));\n",
        "kick_late",
        "code",
        "rounds=200",
    ),
    "a page walk stores the entry that it has read": Mutant(
        "mmu.c",
        "    return wide ? __atomic_compare_exchange_n((uint64_t *)host",
        "    if (wide) {\n"
        "        __atomic_store_n((uint64_t *)host, seen | bits, __ATOMIC_SEQ_CST);\n"
        "        return true;\n"
        "    }\n"
        "    return wide ? __atomic_compare_exchange_n((uint64_t *)host",
        "entry_mark",
        "accessed-dirty",
        "rounds=30",
    ),
}


@pytest.mark.parametrize("name", _MUTANTS)
def test_a_core_without_one_of_its_rules_is_found_out_when(
    launch: Launcher, images: dict[str, Path], tmp_path: Path, name: str
) -> None:
    mutant = _MUTANTS[name]
    sources = tmp_path / "sources"
    sources.mkdir()
    for path in debian.REPOSITORY.iterdir():
        if path.is_file() or path.name in ("mpvm", "workers"):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, sources / path.name)
    source = sources / "workers" / "engine" / mutant.source
    text = source.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.source} has changed: so must the mutant"
    source.write_text(text.replace(mutant.old, mutant.new))
    core = litmus.late_core(tmp_path / "core", sources)
    late = litmus.late(core, f"{_SEED}:{mutant.step}")
    run = litmus.on_mpvm(launch, images[f"litmus-{mutant.guest}"], 2, mutant.command_line, environment=late)
    assert run.status == litmus.FAILED, run
