"""Around the stages: leases, a plan before a run, its status, and a check of the machine."""
