"""Direct Electron's sidecar, file names and scan points."""
