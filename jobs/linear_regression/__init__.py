"""Linear regression by gradient descent: the tutorial that this project comes from, on any data."""
