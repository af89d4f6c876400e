"""Names that users give to objects (QEMU's util/id.c): each is a step of a canonical path."""

import re
from typing import Final

#: What an id is made of, for messages.
ID_RIGHT: Final = "a letter, then letters, digits, - . and _"
_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*", re.ASCII)


def id_wellformed(text: str) -> bool:
    """Whether `text` can be an id."""
    return _ID.fullmatch(text) is not None
