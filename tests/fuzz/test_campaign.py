"""The property test itself: what it throws is what it says, and it tells what differs."""

import random
from collections.abc import Iterator

import capstone
import pytest

from tests.fuzz import layout
from tests.fuzz.campaign import Campaign
from tests.fuzz.catalogue import INTEGER
from tests.fuzz.catalogue_sse import SSE
from tests.fuzz.catalogue_x87 import X87
from tests.fuzz.encoder import Encoder
from tests.fuzz.forms import parse
from tests.fuzz.generator import Generator
from tests.fuzz.guest import Guest
from tests.fuzz.host import Host
from tests.fuzz.state import StateSource

_ENCODINGS = 20
_FORMS = list(parse("\n".join((INTEGER, SSE, X87))))


@pytest.mark.parametrize("long_mode", [True, False], ids=["64-bit", "32-bit"])
def test_each_form_encodes_one_instruction_as_capstone_decodes_it(long_mode: bool) -> None:
    rng = random.Random(1)
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64 if long_mode else capstone.CS_MODE_32)
    encoder, source = Encoder(rng, long_mode), StateSource(rng)
    wrong = []
    for form in _FORMS:
        if ("o32" if long_mode else "o64") in form.words:
            continue
        for _ in range(_ENCODINGS):
            _record, pointers = source.record(layout.CODE, long_mode)
            code = encoder.encode(form, layout.CODE, pointers).code
            decoded = list(decoder.disasm_lite(code, layout.CODE))
            if [size for _at, size, _name, _operands in decoded] != [len(code)]:
                wrong.append(f"{form.name}: {code.hex(' ')} is {decoded}")
    assert not wrong


def test_a_seed_always_gives_the_same_cases() -> None:
    first, second = Generator(5), Generator(5)
    assert all(first.case(layout.CODE, 12) == second.case(layout.CODE, 12) for _ in range(100))


def test_a_difference_is_shrunk_to_its_instruction_and_told_with_seed_and_bytes() -> None:
    """A CPU model without BMI, on which ANDN is #UD."""
    with Host() as host, Guest("qemu64") as guest:
        findings = list(Campaign(host, guest).run(7, 200, only="add,mov,andn"))
    assert findings
    for finding in findings:
        text = str(finding)
        assert [forms[-1].name for _code, forms, _effect in finding.case.instructions] == ["andn"]
        assert "seed 7" in text
        assert finding.case.instructions[0].code.hex(" ") in text
        assert "vector: 0xff on the host, 0x6 in the guest" in text


# What the engine's own translator or helpers get wrong, with a seed that shows it.
_REPAIRED = (
    *("andn,bextr,blsi,bzhi", "pdep,pext", "rorx", "cmpxchg", "add,cmpxchg8b,set", "shl,loope,loopne", "neg"),
    *("sub,rcl,rcr", "add,set", "shld,shrd", "phaddw,phaddd,phsubsw,emms", "fcmovb,fcmovne,fld,ffree"),
    *(
        "fst,fstp,fist,fisttp,fnstsw",
        "fprem,fprem1",
        "fsin,fptan,fsincos,ffree",
        "cvtdq2pd,roundss,cvttps2pi",
    ),
    *("pand,paddb,fld,fxch", "movbe,popf"),
)


@pytest.fixture(scope="module")
def campaign() -> Iterator[Campaign]:
    with Host() as host, Guest() as guest:
        yield Campaign(host, guest)


@pytest.mark.parametrize("names", _REPAIRED)
def test_what_the_engine_gets_wrong_is_repaired(campaign: Campaign, names: str) -> None:
    assert not [str(finding) for finding in campaign.run(11, 3000, only=names)]
