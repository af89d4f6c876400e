"""The engine core's library is found, or the error says what to do."""

from pathlib import Path

import pytest

from mpvm.abi.core import open_core
from mpvm.abi.errors import StartError


def test_the_core_that_is_built_opens() -> None:
    assert open_core().engine_dma_write is not None


def test_a_core_that_is_not_there_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MPVM_ENGINE", str(tmp_path / "none.so"))
    with pytest.raises(StartError, match=r"the engine core is not built \(.*none\.so.*\): pip install"):
        open_core()
