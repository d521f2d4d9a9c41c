"""Previews of files in S3 cost what is estimated; the display of a plan contains no secret."""

from __future__ import annotations

from mrcdist import plan_mrc
from mrcdist.plan.reader_capabilities import Cost
from mrcdist.preview.preview import plan_preview
from mrcdist.stats import snapshot
from mrcdist.testing.acquisition import write_acquisition
from tests.support.mrc_files import counting, mrc_bytes


def test_preview_of_a_scan_takes_one_get_per_piece_as_estimated(moto, tmp_path):
    acquisition = write_acquisition(tmp_path, scan_shape=(8, 9), frame_shape=(16, 16))
    with moto.bucket() as bucket:
        url = bucket.put(acquisition.movie.name, acquisition.movie.read_bytes())
        bucket.put(acquisition.sidecar.name, acquisition.sidecar.read_bytes())
        plan = plan_mrc(url, storage_options=moto.storage_options())
        preview = plan_preview(plan, budget=12_000)
        before = snapshot()
        preview.panels()
    read = snapshot() - before
    assert Cost(read.requests, read.nbytes) == preview.cost
    assert preview.view.kind == "scan"
    assert preview.cost.requests == len(preview.sample.pieces) > 10
    rows = sum(len(piece.frames) * len(piece.rows) for piece in preview.sample.pieces)
    assert preview.cost.nbytes == rows * 32 <= 12_000


def test_html_of_a_plan_has_the_number_of_requests_and_no_secret(moto):
    with moto.bucket() as bucket:
        url = bucket.put("a.mrc", mrc_bytes(counting((2, 4, 4), "int16")))
        html = plan_mrc(url, storage_options=moto.storage_options())._repr_html_()
    assert moto.secret not in html
    assert moto.key not in html
    assert "1 request" in html
