"""Synthetic acquisitions, and a demonstration that reads one from S3: `python -m mrcdist.demo`.

| module | job |
|---|---|
| `acquisition` | write a Direct Electron acquisition: movie, sidecar, scan points, images |
| `sidecar` | the text of its `_info.txt` |
| `field` | diffraction patterns worth looking at |
| `magnetism` | how a magnetic film deflects the beam |
| `tilt_series`, `tilt_specimen` | tilt series with FEI's or SerialEM's header; what they show |
| `server` | an S3 server on this machine, which counts requests |
| `figure` | the three images as a PNG |
| `panels` | what the notebooks draw: calibrated images, fields of vectors, task streams |
| `__main__` | write, serve, read, compute, check, draw |
"""
