"""A full memory barrier for Python code that shares memory with other processes.

x86 lets a load pass an earlier store to another address (SDM vol. 3, 8.2.3.4). Where a protocol
stores a flag and then reads the other side's, it needs a barrier between. An uncontended lock is
one: its acquire is a LOCK-prefixed instruction.
"""

import threading

_lock = threading.Lock()


def full_barrier() -> None:
    """Make earlier stores of this thread visible before its later loads."""
    _lock.acquire()
    _lock.release()
