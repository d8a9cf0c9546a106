"""What every measured system shares: works, arrays, models, the recorder, and the Flower app."""
