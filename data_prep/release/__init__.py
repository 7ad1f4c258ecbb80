"""What the scripts for published datasets share: fetch, unpack, check, write, one command line."""
