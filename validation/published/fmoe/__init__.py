"""fMoE's figures, the routing and the systems that they are simulated with."""
