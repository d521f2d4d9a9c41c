"""Demonstration that reads a synthetic acquisition from S3: run `python -m demo` in a clone.

| module | purpose |
|---|---|
| `field` | simulated diffraction patterns of a polycrystalline film |
| `magnetism` | simulated beam deflection by a magnetic film |
| `tilt_specimen` | simulated images of a tilt series |
| `panels` | figures: the three images, calibrated images, vector fields, task streams |
| `file_server` | a folder as an S3 bucket |
| `__main__` | the program: write, serve, read, compute, check, draw |
"""
