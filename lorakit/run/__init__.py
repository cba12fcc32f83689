"""Execute a plan, follow it, stop it, and write down what happened."""
