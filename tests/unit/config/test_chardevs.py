"""Chardevs in all their forms: texts as QEMU's -serial has them, sections, definitions and references."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpvm.abi.errors import ConfigError
from mpvm.config import ChardevSpec, Config, load_config
from mpvm.config.chardevs import STDIO

MakeConfig = Callable[..., Config]
SOCKET = ChardevSpec("socket", Path("/tmp/s"))


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        ("stdio", STDIO),
        ("mon:stdio", STDIO),
        ({"backend": "stdio"}, ChardevSpec("stdio")),
        ({"backend": "stdio", "signal": False}, ChardevSpec("stdio", signal=False)),
        ("vc", ChardevSpec("null")),
        ("vc:80Cx24C", ChardevSpec("null")),
        ("pty", ChardevSpec("pty")),
        ("file:/tmp/a,b", ChardevSpec("file", Path("/tmp/a,b"))),
        ("pipe:/tmp/a,b", ChardevSpec("pipe", Path("/tmp/a,b"))),
        (
            {"backend": "file", "path": "/tmp/x", "append": True},
            ChardevSpec("file", Path("/tmp/x"), append=True),
        ),
        ("unix:/tmp/s", SOCKET),
        ("unix:/tmp/s,server", SOCKET._replace(server=True, wait=True)),
        ("unix:/tmp/s,server=on,wait=off", SOCKET._replace(server=True)),
        ("unix:/tmp/s,server,nowait", SOCKET._replace(server=True)),
        ("unix:/tmp/a,,b", ChardevSpec("socket", Path("/tmp/a,b"))),
        ("mon:unix:/tmp/s", SOCKET._replace(mux=True, monitor=True)),
        ("tcp:localhost:80", ChardevSpec("socket", host="localhost", port="80")),
        ("tcp::80,server,nowait", ChardevSpec("socket", port="80", server=True)),
        ("tcp:[::1]:80", ChardevSpec("socket", host="::1", port="80")),
        ("telnet:h:23,reconnect=2", ChardevSpec("socket", host="h", port="23", telnet=True, reconnect=2)),
        (
            {"backend": "null", "logfile": "/tmp/log", "logappend": "on"},
            ChardevSpec("null", logfile=Path("/tmp/log"), logappend=True),
        ),
    ],
)
def test_a_chardev_is_what_its_text_or_section_says(
    machine_config: MakeConfig, given: object, spec: ChardevSpec
) -> None:
    assert machine_config(serial=[given]).serial == (spec,)
    assert ChardevSpec.from_plain(spec.to_plain()) == spec


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("unix:", "unix: is not accepted, stdio, null, file:PATH, pipe:PATH"),
        ("tcp:80", "tcp:80 has no port, HOST:PORT is right"),
        ("tcp:h:x", "port: x is not accepted, a port's number is right"),
        ("tcp:h:65536", "port: 65536 is not accepted"),
        ("unix:/tmp/s,speed=1", "unknown key speed of socket, id, mux, monitor, logfile, logappend, path"),
        ("unix:/tmp/s,wait=on", "wait: is not for a client, server: true is right with it"),
        ("unix:/tmp/s,server,reconnect=1", "reconnect: is not for a server"),
        ("unix:/tmp/s,server=maybe", "server: maybe is not accepted, on or off is right"),
        ("unix:/absent/s", "/absent/s: can't be made, unix:PATH in a folder that exists is right"),
        ("chardev:none", "there is no chardev none, an id of one in chardevs is right"),
        ({"backend": "modem"}, "backend: modem, null or stdio or file"),
        ({}, "backend: missing, null or stdio"),
        ({"backend": "file"}, "path: missing, the path of a file is right"),
        ({"backend": "socket", "path": "/tmp/s", "host": "h", "port": 1}, "path, or host and port, is right"),
        ({"backend": "stdio", "id": "a/b"}, "id: a/b is not a name"),
    ],
)
def test_a_chardev_that_can_not_be_is_told_with_what_is_right(
    machine_config: MakeConfig, given: object, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        machine_config(serial=[given])
    assert "serial[0]: " in str(caught.value)
    assert text in str(caught.value)


def test_a_reference_is_the_chardev_that_is_defined(machine_config: MakeConfig, tmp_path: Path) -> None:
    config = machine_config(
        chardevs=["socket,id=a,path=s,server=on,wait=off", {"backend": "null", "id": "b"}],
        serial=["chardev:a"],
        devices=["isa-debugcon,chardev=b"],
    )
    a = ChardevSpec("socket", tmp_path / "s", "a", server=True)
    assert config.chardevs == (a, ChardevSpec("null", id="b"))
    assert config.serial == (a,)
    assert config.devices[0].chardevs() == {"chardev": ChardevSpec("null", id="b")}


def test_several_use_one_chardev_where_it_is_a_mux(machine_config: MakeConfig) -> None:
    shared = {"backend": "stdio", "id": "a", "mux": True}
    config = machine_config(chardevs=[shared], serial=["chardev:a"], monitor=["chardev:a"])
    assert config.serial == config.monitor == config.chardevs


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (
            {"serial": ["chardev:a"], "monitor": ["chardev:a"]},
            "monitor[0]: chardev a is taken by serial[0] already, mux: true lets several use it",
        ),
        ({"serial": ["stdio"]}, "serial[0]: stdio is taken by chardevs[0] already"),
        ({"chardevs": ["null,id=a", "null,id=a"]}, "chardevs[1].id: there are two a, one is right"),
        (
            {"chardevs": ["null"]},
            "chardevs[0]: id: missing, a name by which chardev:ID refers to it is right",
        ),
        ({"chardevs": [5]}, "chardevs[0]: 5 is not a chardev"),
    ],
)
def test_a_chardev_has_one_name_and_one_user(
    machine_config: MakeConfig, keys: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        machine_config(**{"chardevs": ["stdio,id=a"], "serial": [], **keys})
    assert text in str(caught.value)


def test_what_is_remembered_of_chardevs_is_all(
    machine_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = machine_config(chardevs=["socket,id=a,host=h,port=1"], serial=["chardev:a"], monitor=["pty"])
    assert load_config(tmp_path / "machine.yaml") == config
