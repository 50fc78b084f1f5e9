"""What an operation costs on a machine, in time and in memory."""
