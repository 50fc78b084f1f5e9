"""Turns a policy's decisions into a program of tasks."""
