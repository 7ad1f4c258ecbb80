"""The companion around the method: runs, reports, labelling, and the command `alpt`."""
