"""Programs that keep experts in host memory and cache some on a GPU: their misses and costs."""
