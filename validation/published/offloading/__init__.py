"""MoE-Lightning, MoE-Infinity, ProMoE and Mixtral-Offloading: their published figures and our
runs.
"""
