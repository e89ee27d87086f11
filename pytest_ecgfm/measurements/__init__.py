"""What the suites hand to the gate: embeddings go into the evaluations, findings come out as `Measured`."""
