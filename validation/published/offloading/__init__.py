"""MoE-Lightning, MoE-Infinity, ProMoE and Mixtral-Offloading: their own figures and our runs."""
