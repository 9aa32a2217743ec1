"""The probes: how a run is watched while the user's own code runs unmodified. They fill the observations and know no rule and no report."""
