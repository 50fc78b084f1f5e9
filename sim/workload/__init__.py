"""What is asked: a batch of prompts, or requests that arrive over time."""
