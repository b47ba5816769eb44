"""What the tests of this room share: PyTorch on one thread.

Its threads spin while they wait; on a machine whose cores are busy that makes these tests three times as slow.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when PyTorch is imported, which is after this
