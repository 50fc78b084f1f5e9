"""fMoE's figures, and the routing and systems with which they are simulated."""
