"""From parameters to stored runs: plan, execute, keep."""
