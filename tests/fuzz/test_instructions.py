"""A million random instructions on the engine and on the host's own CPU: the state becomes the same.

Every run has seeds of its own, which it prints; `python -m tests.fuzz.instructions --seed N` repeats one.
"""

import random
from collections.abc import Callable

import pytest

from tests.fuzz.campaign import Campaign
from tests.fuzz.guest import Guest
from tests.fuzz.host import Host

_INSTRUCTIONS = 1_000_000
_PARTS = 8
_MAX_SHOWN = 5


@pytest.mark.parametrize("part", range(_PARTS))
def test_random_instructions_do_what_they_do_on_the_hosts_cpu(
    part: int, record_property: Callable[[str, object], None]
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    # The run's summary has it (tests/conftest.py).
    record_property("seed", seed)
    found = []
    with Host() as host, Guest() as guest:
        campaign = Campaign(host, guest)
        for finding in campaign.run(seed, _INSTRUCTIONS // _PARTS):
            found.append(str(finding))
            if len(found) == _MAX_SHOWN:
                break
    assert not found, "\n".join(found)
    assert campaign.instructions >= _INSTRUCTIONS // _PARTS
