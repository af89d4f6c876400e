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
# A race is met by chance; one run in five may miss what a core lacks.
_SEEDS = 12


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


class Edit(NamedTuple):
    """`old` in a source of the core becomes `new`."""

    source: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A core with `edits`; a guest shows them where `steps` are late."""

    edits: tuple[Edit, ...]
    steps: str
    guest: str
    command_line: str


_NOBODY_STORES = "(atomic_load(&vcpu->writers[page]) & ~vcpu->bit) == 0 && !dma_to(vcpu, page)"
_AFTER_TRANSLATION = (
    "        if (crossed == second && page_claimed(vcpu, first) && page_claimed(vcpu, second)) {\n"
)
_MUTANTS = {
    "a claim is not looked at again": Mutant(
        (
            Edit(
                "coherence.c",
                f"    }} while ({_NOBODY_STORES});\n",
                f"        if ({_NOBODY_STORES}) {{\n            return;\n        }}\n    }} while (0);\n",
            ),
            Edit("interpose_translation.c", _AFTER_TRANSLATION, "        if (crossed == second) {\n"),
        ),
        "code_claim,mail_answered",
        "code",
        "rounds=600",
    ),
    "a block's second page is not claimed": Mutant(
        (Edit("interpose_translation.c", _AFTER_TRANSLATION, "        if (true) {\n"),),
        "translated",
        "code",
        "rounds=100",
    ),
    "a page walk stores the entry that it has read": Mutant(
        (
            Edit(
                "mmu.c",
                "    return wide ? __atomic_compare_exchange_n((uint64_t *)host",
                "    if (wide) {\n"
                "        __atomic_store_n((uint64_t *)host, seen | bits, __ATOMIC_SEQ_CST);\n"
                "        return true;\n"
                "    }\n"
                "    return wide ? __atomic_compare_exchange_n((uint64_t *)host",
            ),
        ),
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
    for edit in mutant.edits:
        source = sources / "workers" / "engine" / edit.source
        text = source.read_text()
        assert text.count(edit.old) == 1, f"{edit.source} has changed: so must the mutant"
        source.write_text(text.replace(edit.old, edit.new))
    core = litmus.late_core(tmp_path / "core", sources)
    image = images[f"litmus-{mutant.guest}"]
    for seed in range(_SEED, _SEED + _SEEDS):
        late = litmus.late(core, f"{seed}:{mutant.steps}")
        run = litmus.on_mpvm(launch, image, 2, mutant.command_line, environment=late)
        if run.status == litmus.FAILED:
            return
    pytest.fail(f"passed with {_SEEDS} seeds: {run}")
