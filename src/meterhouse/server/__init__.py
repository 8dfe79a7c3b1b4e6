"""The HTTP edge: reads requests within bounds, passes them through the gates, and writes the answers."""
