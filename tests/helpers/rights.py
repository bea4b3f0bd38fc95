"""Code by which a process of root loses rights, so that what binds other users binds it; Linux only.

For `patches` of `Commands`. Other users' processes need no such code, and it changes nothing for them.
"""

from __future__ import annotations

_CAPABILITIES = """
import ctypes, os
def keep(mask):
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(mask, mask, 0, 0, 0, 0)
    assert ctypes.CDLL(None, use_errno=True).capset(header, data) == 0, os.strerror(ctypes.get_errno())
"""

PERMISSIONS_BIND = f"{_CAPABILITIES}\nif os.geteuid() == 0: keep(0)\n"
"""Permissions bind it as they bind the owner of root's files."""


def no_more(limit: int) -> str:
    """Code by which neither a thread nor a process can be begun beyond `limit`, the process itself included.

    The system counts by user, and never binds root: the process becomes a user of its own, who may read all.
    """
    return f"""{_CAPABILITIES}
import resource
if os.geteuid() == 0:
    ctypes.CDLL(None).prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setuid(2_000_000 + os.getpid())
    keep(1 << 1)  # CAP_DAC_OVERRIDE
resource.setrlimit(resource.RLIMIT_NPROC, ({limit}, {limit}))
"""
