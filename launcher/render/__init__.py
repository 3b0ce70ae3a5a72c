"""A Plan as text for engines that start its tasks; pure, so that what is rendered is what runs."""
