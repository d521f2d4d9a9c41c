"""Synthetic acquisitions, and a demonstration that reads one from S3: `python -m mrcdist.demo`.

| module | job |
|---|---|
| `acquisition` | write a Direct Electron acquisition: movie, sidecar, scan points, images |
| `sidecar` | the text of its `_info.txt` |
| `field` | diffraction patterns worth looking at |
| `server` | an S3 server on this machine, which counts requests |
| `figure` | the three images as a PNG |
| `__main__` | write, serve, read, compute, check, draw |
"""
