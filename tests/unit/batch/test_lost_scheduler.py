import logging

import pytest
from distributed.client import AllExit
from distributed.comm.core import CommClosedError

from mrcdist.batch.lost_scheduler import logs_left_to_errors


def without_exception(record):
    """Stand in for the filter that redacts records, which drops their exception."""
    record.exc_info = None
    return True


@pytest.mark.parametrize(
    ("error", "n_records"),
    [(AllExit(), 0), (CommClosedError("closed"), 0), (ValueError("unexpected"), 1)],
)
def test_asyncio_logs_unexpected_errors_only(caplog, error, n_records):
    logger = logging.getLogger("asyncio")
    logger.addFilter(without_exception)
    try:
        with logs_left_to_errors():
            logger.error("Task exception was never retrieved", exc_info=error)
    finally:
        logger.removeFilter(without_exception)
    assert len(caplog.records) == n_records
