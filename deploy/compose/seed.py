"""Upload a simulated acquisition of 16 MiB to the bucket `demo` of the S3 server."""

import tempfile
from pathlib import Path

import s3fs

from mrcdist.testing.acquisition import write_acquisition
from mrcdist.testing.specimen import crystal_frames

SCAN, FRAME = (32, 32), (64, 128)

with tempfile.TemporaryDirectory() as folder:
    acquisition = write_acquisition(
        Path(folder),
        name="20250101_00001",
        scan_shape=SCAN,
        frame_shape=FRAME,
        frames=crystal_frames(SCAN, FRAME),
    )
    store = s3fs.S3FileSystem()  # server and keys come from the environment
    if not store.exists("demo"):
        store.call_s3("create_bucket", Bucket="demo")
    for path in acquisition.files:
        store.put_file(str(path), f"demo/{path.name}")
        print(f"s3://demo/{path.name}", path.stat().st_size, "bytes")
