"""The composition tree: children, canonical paths, and paths resolved."""

import pytest

from mpvm.abi.errors import PathError, PropertyError
from mpvm.qom.container import Container
from mpvm.qom.path import resolve_path
from mpvm.qom.properties import link
from tests.unit.qom.zoo import Uart, tree


def test_children_have_canonical_paths() -> None:
    root, first, second = tree()
    assert root.canonical_path() == "/"
    assert first.canonical_path() == "/board/uart[0]"
    assert second.canonical_path() == "/board/uart[1]"


def test_outside_of_a_tree_there_is_no_path() -> None:
    uart = Uart()
    assert uart.canonical_path() == ""
    assert str(uart) == "a new test-uart"


def test_a_free_index_is_taken_again() -> None:
    root, first, _second = tree()
    first.unparent()
    assert first.canonical_path() == ""
    board = root.container("board")
    assert board.add_child("uart[*]", Uart()).canonical_path() == "/board/uart[0]"


def test_a_child_is_a_property_of_its_parent() -> None:
    root, first, _second = tree()
    board = root.container("board")
    assert board.find_property("uart[0]").kind == "child<test-uart>"
    assert board.get_property("uart[0]") is first
    with pytest.raises(PropertyError, match="read-only"):
        board.set_property("uart[0]", Uart())


def test_an_object_has_one_parent_and_a_name_is_given_once() -> None:
    root, first, _second = tree()
    with pytest.raises(PropertyError, match=r"/board/uart.0.: has a parent already"):
        root.add_child("again", first)
    with pytest.raises(PropertyError, match=r"there is a property uart\[0\] already"):
        root.container("board").add_child("uart[0]", Uart())
    with pytest.raises(PropertyError, match="one without / is right"):
        root.add_child("a/b", Uart())


def test_an_absolute_path_leads_to_an_object_over_children_and_links() -> None:
    root, first, second = tree()
    assert resolve_path(root, "/board/uart[1]") is second
    assert resolve_path(root, "/") is root
    first.peer = second
    assert resolve_path(root, "/board/uart[0]/peer") is second
    root.add_property("serial0", link("test-uart"))
    root.set_property("serial0", first)
    assert resolve_path(root, "/serial0") is first


def test_a_partial_path_leads_to_the_one_object_whose_path_ends_so() -> None:
    root, first, _second = tree()
    assert resolve_path(root, "uart[0]") is first
    assert resolve_path(root, "board/uart[0]") is first


def test_an_ambiguous_path_is_refused_with_the_candidates() -> None:
    root, _first, _second = tree()
    other = root.container("other")
    other.add_child("uart[0]", Uart())
    with pytest.raises(PathError, match=r"ambiguous, /board/uart\[0\] or /other/uart\[0\] is right"):
        resolve_path(root, "uart[0]")
    assert resolve_path(root, "other/uart[0]") is other.child("uart[0]")


def test_one_object_by_two_ways_is_not_ambiguous() -> None:
    root, first, second = tree()
    first.peer = second
    root.container("links").add_child("peer", Container())
    assert resolve_path(root, "peer", "test-uart") is second


def test_a_path_to_nothing_is_refused_with_the_nearest() -> None:
    root, _first, _second = tree()
    with pytest.raises(PathError, match=r"/board/urat\[0\]: no such object, /board/uart\[0\] is right"):
        resolve_path(root, "/board/urat[0]")
    with pytest.raises(PathError, match="is of type container, a path of type test-uart is right"):
        resolve_path(root, "/board", "test-uart")


def test_everything_below_comes_parents_first() -> None:
    root, first, second = tree()
    assert list(root.descendants()) == [root.child("board"), first, second]
