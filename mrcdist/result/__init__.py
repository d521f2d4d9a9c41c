"""Layout, header and sidecar to RosettaSciIO's dicts."""
