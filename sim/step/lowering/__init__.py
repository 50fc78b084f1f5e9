"""From a policy's decisions to a program of tasks."""
