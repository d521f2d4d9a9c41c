"""Time mrcdist beside other readers: `python tests/benchmarks/run.py`."""
