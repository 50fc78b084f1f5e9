"""Plans for served requests: offloading of KV and its tiers."""
