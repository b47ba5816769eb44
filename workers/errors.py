"""Everything that can go wrong between a job and its results.

PixelmillError
└── JobError                this job can't run or go on; its finished results stay
    ├── SourceError         the input is missing, empty or not readable
    ├── OutputError         results can't be written: permission, full disk, another run in the same folder
    ├── BrokerError         the broker or the store can't be reached, or gives up
    ├── UnknownJobError     the service knows no such job
    ├── WaitTimeoutError    a job has not ended in the time its waiter had
    ├── QueueFullError      the service has as much to do as it may take
    ├── AddressError        an address that webhooks and URIs may not reach, or that can't be found
    └── WorkerError         workers die again and again, or none is there
"""

from __future__ import annotations

from pipelines.errors import PixelmillError


class JobError(PixelmillError):
    """A job can't run, or not go on. What was finished stays; the same command continues it."""


class SourceError(JobError):
    """The input is missing, holds no images, or can't be read."""


class OutputError(JobError):
    """Results can't be written where they should be."""


class BrokerError(JobError):
    """The broker or the store can't be reached."""


class WorkerError(JobError):
    """Workers die again and again without finishing anything."""


class QueueFullError(JobError):
    """The service takes no further job for the moment."""


class AddressError(JobError):
    """A host that may not be reached from here, or that has no address."""


class UnknownJobError(JobError):
    """The service knows no such job; it forgets them after a week."""


class WaitTimeoutError(JobError):
    """A job has not ended in the time its waiter had; the job goes on."""
