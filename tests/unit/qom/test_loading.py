"""Types that no imported module has: found in mpvm's own modules, and in plug-ins by their entry points."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mpvm.abi.errors import ObjectTypeError
from mpvm.qom import loading
from mpvm.qom.type_info import object_class_by_name, object_class_get_list

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with a module of this name and text beside those that are installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(loading, "_loaded", {"own"})

    def put(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[mpvm.types]\n{name} = {name}\n")

    return put


GOOD = """
from mpvm.qom.container import Container
from mpvm.qom.type_info import register_type

@register_type("test-plugged")
class Plugged(Container):
    pass
"""


def test_a_type_of_our_own_is_found_wherever_it_is() -> None:
    assert object_class_by_name("isa-debugcon").type_name == "isa-debugcon"


def test_an_unknown_type_is_looked_for_in_plugins(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("mpvm_test_good", GOOD)
    assert object_class_by_name("test-plugged").__module__ == "mpvm_test_good"
    assert capsys.readouterr() == ("", "")


def test_a_plugin_that_can_not_be_loaded_is_one_line_and_the_others_are_there(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("mpvm_test_bad", "raise RuntimeError('two\\nlines')")
    install("mpvm_test_fine", GOOD.replace("test-plugged", "test-fine"))
    names = [cls.type_name for cls in object_class_get_list()]
    assert "test-fine" in names
    message = "plug-in mpvm_test_bad of package mpvm_test_bad can't be loaded: RuntimeError: two lines"
    assert capsys.readouterr() == ("", f"mpvm: {message}\n")


def test_a_plugin_that_takes_a_name_that_is_taken_is_refused(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("mpvm_test_thief", GOOD.replace("test-plugged", "container"))
    object_class_get_list()
    assert "type container is registered twice, by mpvm.qom.container and mpvm_test_thief" in (
        capsys.readouterr().err
    )


def test_plugins_are_looked_for_once(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("mpvm_test_worse", "1 / 0")
    for _ in range(2):
        with pytest.raises(ObjectTypeError):
            object_class_by_name("test-nowhere")
    assert capsys.readouterr().err.count("mpvm_test_worse") == 2  # once by its name, once by its package's


@pytest.mark.parametrize("name", sorted(loading._MODULE_OF))
def test_a_type_that_names_its_module_is_found_without_the_others(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_loaded", set())
    found = loading.find_type(name)
    assert found is not None
    assert (found.type_name, found.__module__) == (name, loading._MODULE_OF[name])
    assert not loading._loaded
