"""One client's conversation: negotiation, ids, errors and the checks of arguments."""

import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from mpvm.abi.errors import DeviceNotFoundError
from mpvm.abi.layout import RunState, VmPage
from mpvm.config import Action
from mpvm.coordinator.run_state import RunStateMachine
from mpvm.tools.qmp import (
    commands,  # noqa: F401 - registers them
    registry,
)
from mpvm.tools.qmp.session import Session
from tests.unit.tools.qmp.fake_vm import FakeVm


@pytest.fixture
def vm() -> FakeVm:
    return FakeVm()


@pytest.fixture
def session(vm: FakeVm) -> Session:
    """A session that has negotiated."""
    session = Session(vm)
    assert say(session, "qmp_capabilities") == {"return": {}}
    return session


@pytest.fixture
def greet() -> Iterator[None]:
    """The command `greet`, with an argument of each kind."""

    @registry.command(
        "greet", required={"who": str}, optional={"how-often": int, "loudly": bool, "how-long": float}
    )
    def greet(_vm: FakeVm, who: str, how_often: int = 1, **rest: object) -> dict[str, object]:
        if who == "nobody":
            raise DeviceNotFoundError("nobody is there")
        return {"who": who, "how-often": how_often, **rest}

    yield
    del registry.COMMANDS["greet"]


def say(session: Session, command: str, arguments: Any = None, **members: Any) -> dict[str, object]:
    request = {"execute": command, **members}
    if arguments is not None:
        request["arguments"] = arguments
    return session.execute(json.dumps(request).encode())


def error_of(response: dict[str, object]) -> dict[str, str]:
    error: Any = response["error"]
    return {"class": error["class"], "desc": error["desc"]}


def test_before_the_negotiation_no_other_command_is_open(vm: FakeVm) -> None:
    session = Session(vm)
    assert error_of(say(session, "query-status")) == {
        "class": "CommandNotFound",
        "desc": "query-status: not before the negotiation, qmp_capabilities is right",
    }
    say(session, "qmp_capabilities")
    assert "return" in say(session, "query-status")


def test_a_negotiation_that_fails_can_be_tried_again(vm: FakeVm) -> None:
    session = Session(vm)
    refused = say(session, "qmp_capabilities", {"enable": ["oob"]})
    assert error_of(refused)["desc"] == "qmp_capabilities: capability 'oob' is unknown, none is right"
    assert not session.negotiated
    assert say(session, "qmp_capabilities", {"enable": []}) == {"return": {}}


def test_a_second_negotiation_is_no_command(session: Session) -> None:
    assert error_of(say(session, "qmp_capabilities"))["class"] == "CommandNotFound"


@pytest.mark.parametrize("identity", [1, "a", None, {"x": [1]}])
def test_a_response_has_its_requests_id(session: Session, identity: object) -> None:
    assert say(session, "stop", id=identity) == {"return": {}, "id": identity}
    assert say(session, "fly", id=identity)["id"] == identity
    assert "id" not in say(session, "stop")


@pytest.mark.parametrize(
    ("text", "desc"),
    [
        (b"{", "JSON parse error: Expecting property name enclosed in double quotes"),
        (b"\xff", "JSON parse error: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "JSON parse error: "),
        (b"[]", "QMP input must be a JSON object"),
        (b"{}", "QMP input lacks member 'execute', the name of a command is right"),
        (b'{"execute": 5}', "QMP input lacks member 'execute', the name of a command is right"),
        (b'{"execute": "stop", "x": 1}', "QMP input member 'x' is unexpected"),
        (b'{"execute": "stop", "arguments": 1}', "QMP input member 'arguments' must be an object"),
        (b'{"execute": "stop", "arguments": null}', "QMP input member 'arguments' must be an object"),
    ],
)
def test_what_is_no_request_is_a_generic_error(session: Session, vm: FakeVm, text: bytes, desc: str) -> None:
    error = error_of(session.execute(text))
    assert error["class"] == "GenericError"
    assert error["desc"].startswith(desc)
    assert vm.asked == []


def test_an_unknown_command_is_named(session: Session) -> None:
    assert error_of(say(session, "fly")) == {
        "class": "CommandNotFound",
        "desc": "The command fly has not been found, `query-commands` lists them",
    }


@pytest.mark.usefixtures("greet")
def test_arguments_reach_the_command_with_hyphens_as_underscores(session: Session) -> None:
    given = {"who": "you", "how-often": 3, "loudly": True, "how-long": 1}
    assert say(session, "greet", given)["return"] == {
        "who": "you",
        "how-often": 3,
        "loudly": True,
        "how_long": 1,
    }


@pytest.mark.usefixtures("greet")
@pytest.mark.parametrize(
    ("arguments", "desc"),
    [
        ({}, "greet: argument 'who' is missing"),
        ({"who": 1}, "greet: argument 'who' is no string"),
        ({"who": None}, "greet: argument 'who' is no string"),
        ({"who": "x", "how-often": True}, "greet: argument 'how-often' is no integer"),
        ({"who": "x", "how-often": 1.0}, "greet: argument 'how-often' is no integer"),
        ({"who": "x", "loudly": 1}, "greet: argument 'loudly' is no boolean"),
        ({"who": "x", "how-long": "1"}, "greet: argument 'how-long' is no number"),
        (
            {"who": "x", "how_often": 1},
            "greet: argument 'how_often' is unexpected, who, how-often, loudly, how-long is right",
        ),
    ],
)
def test_a_wrong_argument_is_named(session: Session, arguments: dict[str, object], desc: str) -> None:
    assert error_of(say(session, "greet", arguments)) == {"class": "GenericError", "desc": desc}


@pytest.mark.usefixtures("greet")
def test_a_commands_own_error_has_its_class(session: Session) -> None:
    assert error_of(say(session, "greet", {"who": "nobody"})) == {
        "class": "DeviceNotFound",
        "desc": "nobody is there",
    }


@pytest.mark.usefixtures("greet")
def test_a_command_can_not_be_registered_twice() -> None:
    with pytest.raises(ValueError, match="greet"):
        registry.command("greet")(lambda vm: None)


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("stop", "stop"),
        ("cont", "cont"),
        ("system_reset", "system_reset"),
        ("system_powerdown", "system_powerdown"),
        ("quit", "system_quit"),
    ],
)
def test_what_a_person_does_to_a_machine_is_done(
    session: Session, vm: FakeVm, command: str, asked: str
) -> None:
    assert say(session, command) == {"return": {}}
    assert vm.asked == [asked]


def test_an_nmi_is_the_machines(session: Session, vm: FakeVm) -> None:
    vm.machine = Mock()
    assert say(session, "inject-nmi") == {"return": {}}
    vm.machine.inject_nmi.assert_called_once_with()


def test_the_status_has_qemus_names(session: Session, vm: FakeVm) -> None:
    seen = []
    for state in RunState:
        vm.run_state = RunStateMachine(VmPage(run_state=state))
        seen.append(say(session, "query-status")["return"])
    assert seen == [
        {"status": "prelaunch", "running": False},
        {"status": "running", "running": True},
        {"status": "paused", "running": False},
        {"status": "shutdown", "running": False},
    ]


def test_why_a_vm_is_stopped_is_its_status(session: Session, vm: FakeVm) -> None:
    vm.run_state = RunStateMachine(VmPage(run_state=RunState.PAUSED))
    vm.run_state.stopped_as("guest-panicked")
    assert say(session, "query-status")["return"] == {"status": "guest-panicked", "running": False}


def test_actions_are_changed_one_by_one(session: Session, vm: FakeVm) -> None:
    assert say(session, "set-action", arguments={"reboot": "shutdown", "panic": "none"})["return"] == {}
    assert vm.actions == Action(reboot="shutdown", panic="none")
    answer = say(session, "set-action", arguments={"panic": "reset"})
    assert "panic: reset is unknown, shutdown or pause or exit-failure or none is right" in str(
        answer["error"]
    )
    assert vm.actions.panic == "none"


@pytest.mark.parametrize("uuid", [None, "12345678-1234-5678-9abc-123456789abc"])
def test_a_machine_without_a_uuid_has_zeros(uuid: str | None) -> None:
    session = Session(FakeVm(uuid=uuid))
    say(session, "qmp_capabilities")
    right = uuid or "00000000-0000-0000-0000-000000000000"
    assert say(session, "query-uuid")["return"] == {"UUID": right}


def test_a_guest_without_a_name_has_none(session: Session) -> None:
    assert say(session, "query-name")["return"] == {}


def test_every_command_is_listed(session: Session) -> None:
    listed: Any = say(session, "query-commands")["return"]
    assert [each["name"] for each in listed] == sorted(registry.COMMANDS)
