"""The date that a machine begins with, as a guest reads it, here and on QEMU."""

from pathlib import Path

from tests.system import reference, tiny
from tests.system.runner import Launcher

# Century, year, month, day, day of the week, hours, minutes
_REGISTERS = (0x32, 0x09, 0x08, 0x07, 0x06, 0x04, 0x02)
_DATE = "2006-06-17T16:01:21"


def _guest() -> bytes:
    """Writes these registers to the first serial line: mov al, N; out 0x70; in 0x71; mov dx, 0x3f8; out."""
    reads = (b"\xb0" + bytes([number]) + bytes.fromhex("e670e47166baf803ee") for number in _REGISTERS)
    return b"".join(reads) + tiny.debug_exit(0)


def test_a_machine_begins_with_the_date_that_it_is_given(launch: Launcher, tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(tiny.image(_guest()))
    config = tmp_path / "vm.yaml"
    text = f"boot: {{kernel: kernel}}\nisa_debug_exit: true\nrtc: {{base: {_DATE}, driftfix: slew"
    for clock in ("host", "rt", "vm"):
        config.write_text(f"{text}, clock: {clock}}}\n")
        run = launch.run("run", "--quiet", config)
        assert run.console == "!\x20\x06\x06\x17\x07\x16\x01", run
        options = ("-rtc", f"base={_DATE},clock={clock}", *reference.ISA_DEBUG_EXIT)
        qemu = reference.run(1, "128M", *reference.image(kernel), *options, seconds=60)
        assert qemu.console == run.console
