"""One client's conversation, after QEMU's docs/interop/qmp-spec: no socket here, so it is tested without."""

import json
from collections.abc import Mapping
from typing import Any, Final

from mpvm.abi.errors import (
    CommandError,
    CommandNotFoundError,
    DeviceNotFoundError,
    MpvmError,
    ObjectTypeError,
    PathError,
)
from mpvm.tools.qmp import registry
from mpvm.tools.vm import Vm

_MEMBERS: Final = frozenset({"execute", "arguments", "id"})
_NEGOTIATE: Final = "qmp_capabilities"
_NOT_FOUND: Final = (PathError, ObjectTypeError)


class Session:
    """In negotiation mode until `qmp_capabilities`; afterwards every other command is open to the client."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self.negotiated = False

    def execute(self, text: bytes) -> dict[str, object]:
        """Carry out the request in `text`; the response, with the request's id when it has one."""
        response: dict[str, object] = {}
        try:
            request = _parse(text)
            if "id" in request:
                response["id"] = request["id"]
            response["return"] = self._call(*_check(request))
        except MpvmError as error:
            response["error"] = {"class": _class_of(error), "desc": str(error)}
        return response

    def _call(self, name: str, arguments: Mapping[str, object]) -> object:
        if not self.negotiated:
            if name != _NEGOTIATE:
                raise CommandNotFoundError(f"{name}: not before the negotiation, {_NEGOTIATE} is right")
        elif name == _NEGOTIATE:
            raise CommandNotFoundError(f"{_NEGOTIATE}: the negotiation is over, once is right")
        result = registry.find(name).call(self._vm, arguments)
        self.negotiated = True
        return result


def _class_of(error: MpvmError) -> str:
    """QMP's class of errors that `error` belongs to."""
    if isinstance(error, _NOT_FOUND):
        return DeviceNotFoundError.qmp_class
    return error.qmp_class if isinstance(error, CommandError) else CommandError.qmp_class


def _parse(text: bytes) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"JSON parse error: {error}") from None
    if not isinstance(request, dict):
        raise CommandError("QMP input must be a JSON object")
    return request


def _check(request: Mapping[str, Any]) -> tuple[str, Mapping[str, object]]:
    """The name and the arguments of the command in `request`."""
    unknown = sorted(request.keys() - _MEMBERS)
    if unknown:
        raise CommandError(
            f"QMP input member '{unknown[0]}' is unexpected, execute, arguments or id is right"
        )
    name, arguments = request.get("execute"), request.get("arguments", {})
    if not isinstance(name, str):
        raise CommandError("QMP input lacks member 'execute', the name of a command is right")
    if not isinstance(arguments, dict):
        raise CommandError("QMP input member 'arguments' must be an object")
    return name, arguments
