"""Random instructions on the engine and on the host's CPU, for as long as one likes.

`python -m tests.fuzz.instructions --seed N --count M` prints every kind of difference that it finds, shrunk
to one instruction where one is enough, with the seed, the bytes and the state. `--only add,shld` takes these
alone.
"""

import argparse
import random
import sys
import time
from collections import Counter

from tests.fuzz.campaign import LENGTH, Campaign
from tests.fuzz.guest import Guest
from tests.fuzz.host import Host

_SHOWN_OF_A_KIND = 1


def main() -> int:
    """Run as the command line says; 1 when something differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.instructions")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--count", type=int, default=1_000_000, help="instructions to throw")
    parser.add_argument("--only", default="", help="names of the catalogue, with commas")
    parser.add_argument("--length", type=int, default=LENGTH, help="instructions in a case")
    parser.add_argument(
        "--show", type=int, default=_SHOWN_OF_A_KIND, help="differences shown of an instruction"
    )
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    kinds: Counter[str] = Counter()
    start = time.monotonic()
    with Host() as host, Guest() as guest:
        campaign = Campaign(host, guest)
        for finding in campaign.run(seed, options.count, options.only, options.length):
            kinds[finding.name] += 1
            if kinds[finding.name] <= options.show:
                print(finding, flush=True)
    print(f"{campaign.instructions} instructions in {time.monotonic() - start:.1f} s")
    print("ended by:", ", ".join(f"{vector} {count}" for vector, count in campaign.outcomes.most_common()))
    if kinds:
        print("differ:", ", ".join(f"{name} {count}" for name, count in kinds.most_common()))
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
