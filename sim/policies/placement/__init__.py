"""The placement parts, one file each; ``sim.policies.parts`` names them."""
