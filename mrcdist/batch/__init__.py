"""The batch program: virtual images, mean patterns and centres of mass of files larger than memory.

What to compute is pure: `detectors`, `bright_disk`, `reductions`, `quantities`, `schedule`. How it
is run is in the other modules: `run_job` has the steps in order, `submit` sends the tasks to a
cluster (`clusters`, `jobqueue`), `tasks` is what workers do; then `partial`, `output`, `picture`.
`check_workers` looks at the workers beforehand.
"""
