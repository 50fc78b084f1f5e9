"""What happens on a machine: models, workloads, routing, policies, engines and the timeline."""
