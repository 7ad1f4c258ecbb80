"""What surrounds the library: the command line, the dry run, rendering through papermill, and the keeping of the store."""
