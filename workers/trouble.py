"""Disks and folders in trouble: said in words, and told apart by whether it can pass."""

from __future__ import annotations

import errno

from workers.jobs import JobSpec
from workers.patience import backoff
from workers.seam import Store

_CAN_PASS = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE,
        errno.ENOENT, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENXIO, errno.ENODEV,
        errno.EMFILE, errno.ENFILE,
    }
)  # fmt: skip


def can_pass(error: Exception) -> bool:
    """Whether somebody may be about to put it right: free the disk, mount the folder, lend permission.

    An error of ours that says in words what an OSError was counts as that.
    """
    told = error if isinstance(error, OSError) else error.__cause__
    return isinstance(told, OSError) and told.errno in _CAN_PASS


def let_rest(store: Store, spec: JobSpec, shard: str, attempt: str, reason: str, tries: int) -> bool:
    """Put a shard off for a while because of something that can pass; False if the job has no patience (left)."""
    if not spec.patience_seconds or store.hold_up(spec.job, reason) >= spec.patience_seconds:
        return False
    store.take_back(spec.job, shard, attempt, backoff(tries, least=1.0, most=60.0))
    return True


def say_output(error: OSError, spec: JobSpec) -> str:
    """Say what could not be written and what to do about it."""
    what = error.filename or spec.output
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EFBIG):
        full = "the disk is full" if error.errno == errno.ENOSPC else f"a limit is reached ({error.strerror})"
        return f"{full}: {what} could not be written. Free some space and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{what} can't be written ({error.strerror}): check the permissions of {spec.output}"
    return f"{what}: {error.strerror or error}"
