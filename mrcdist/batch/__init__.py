"""The batch program: virtual images, mean patterns and centres of mass of files larger than memory.

What to compute is pure: `detectors`, `bright_disk`, `reductions`, `quantities`, `schedule`. How it
is run is in the other modules: `work` (on a worker), `partial`, `job`, `clusters`, `jobqueue`,
`output`, `picture`, `program`; and `check_workers` looks at the workers beforehand.
"""
