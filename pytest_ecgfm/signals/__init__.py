"""Records, electrodes and leads, perturbations, coalitions of leads."""
