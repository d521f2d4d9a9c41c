"""A demonstration that reads a synthetic acquisition from S3: `python -m demo` in a clone.

| module | job |
|---|---|
| `field` | diffraction patterns worth looking at |
| `magnetism` | how a magnetic film deflects the beam |
| `tilt_specimen` | what a tilt series shows |
| `figure` | the three images as a PNG |
| `panels` | what the notebooks draw: calibrated images, fields of vectors, task streams |
| `__main__` | write, serve, read, compute, check, draw |
"""
