"""Benchmarks of mrcdist compared with other readers: `python tests/benchmarks/run.py`."""
