"""The verbs that plan and run training."""
