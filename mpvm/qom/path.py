"""From a path to an object (QEMU's object_resolve_path).

An absolute path starts with "/" and follows children and links from the root. Any other is partial: it
means the one object anywhere in the tree whose path ends so.
"""

from collections.abc import Iterator

from mpvm.abi.errors import PathError
from mpvm.qom.object import Object


def resolve_path(root: Object, path: str, implements: str = "object") -> Object:
    """The object at `path`, of the type `implements`; `PathError` when there is none, or more than one."""
    parts = [part for part in path.split("/") if part]
    if path.startswith("/"):
        found = resolve_absolute(root, parts)
    else:
        matches = list(_partial(root, parts)) if parts else []
        matches = [match for match in matches if match.is_a(implements)]
        if len(matches) > 1:
            paths = " or ".join(match.canonical_path() for match in matches)
            raise PathError(f"{path}: ambiguous, {paths} is right")
        found = matches[0] if matches else None
    if found is None:
        raise PathError(f"{path}: no such object, {_nearest(root, path)} is right")
    if not found.is_a(implements):
        raise PathError(f"{path}: is of type {found.type_name}, a path of type {implements} is right")
    return found


def resolve_absolute(root: Object, parts: list[str]) -> Object | None:
    """The object that `parts` lead to from `root`, over children and links."""
    node: Object | None = root
    for part in parts:
        if node is None:
            return None
        node = _step(node, part)
    return node


def _step(node: Object, part: str) -> Object | None:
    if (child := node.child(part)) is not None:
        return child
    prop = node.properties().get(part)
    if prop is None or not prop.kind.startswith("link<"):
        return None
    target = prop.get(node)
    return target if isinstance(target, Object) else None


def _partial(root: Object, parts: list[str]) -> Iterator[Object]:
    seen: set[int] = set()
    for start in (root, *root.descendants()):
        found = resolve_absolute(start, parts)
        # By a link, one object is met from several places.
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            yield found


def _nearest(root: Object, path: str) -> str:
    import difflib

    paths = [node.canonical_path() for node in root.descendants()]
    nearest = difflib.get_close_matches(path, paths, n=1, cutoff=0.5)
    return nearest[0] if nearest else "a path that `mpvm qom tree` shows"
