"""Where a value stands in a configuration: the path of its keys."""

Key = tuple[str | int, ...]


def dotted(key: Key) -> str:
    """`key` as a person writes it: ``boot.modules[0].path``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
