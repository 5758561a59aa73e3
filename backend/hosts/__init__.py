"""WHERE a build runs: this machine, or one reached over SSH."""
