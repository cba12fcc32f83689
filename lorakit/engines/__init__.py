"""Where many recipes run, and what came out of them: sweeps, and the roads to other machines."""
