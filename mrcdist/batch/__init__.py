"""The batch program: virtual images, mean patterns and centres of mass of files larger than memory.

`run_job` has the steps in order: a pass over the frames (`mrcdist.compute`) on a cluster
(`clusters`, `jobqueue`), then `output`.
`check_workers` looks at the workers beforehand.
"""
