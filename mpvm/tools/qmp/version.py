"""mpvm's version, as the protocol says it."""

import mpvm


def version() -> dict[str, object]:
    """What `query-version` and the greeting say. The member `qemu` is the protocol's name for the number."""
    major, minor, micro = (int(part) for part in mpvm.__version__.split(".")[:3])
    return {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": f"mpvm-{mpvm.__version__}"}
