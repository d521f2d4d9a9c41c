"""Demonstration that reads a synthetic acquisition from S3: run `python -m demo` in a clone.

| module | purpose |
|---|---|
| `field` | simulated diffraction patterns of a polycrystalline film |
| `magnetism` | simulated beam deflection by a magnetic film |
| `tilt_specimen` | simulated images of a tilt series |
| `figure` | a PNG of the three images |
| `panels` | figures of the notebooks: calibrated images, vector fields, task streams |
| `__main__` | the program: write, serve, read, compute, check, draw |
"""
