import logging

import pytest
from distributed.client import AllExit
from distributed.comm.core import CommClosedError

from mrcdist.batch.lost_scheduler import logs_left_to_errors


def without_exception(record):
    """Stand in for the filter that takes secrets out of a record: its exception becomes text."""
    record.exc_info = None
    return True


@pytest.mark.parametrize(
    ("error", "told"), [(AllExit(), 0), (CommClosedError("gone"), 0), (ValueError("news"), 1)]
)
def test_what_the_error_of_a_job_tells_is_not_told_by_asyncio(caplog, error, told):
    logger = logging.getLogger("asyncio")
    logger.addFilter(without_exception)
    try:
        with logs_left_to_errors():
            logger.error("Task exception was never retrieved", exc_info=error)
    finally:
        logger.removeFilter(without_exception)
    assert len(caplog.records) == told
