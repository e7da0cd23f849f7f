"""What a step's cluster reserved, for how long, and what that costs."""
