"""Long-running jobs: virtual images, mean patterns and centres of mass of files larger than memory.

`run_job` runs the steps of a job: a pass over the frames (`mrcdist.compute`) on a cluster
(`clusters`, `jobqueue`), and writing the results (`output`). `check_workers` checks the workers
beforehand.
"""
