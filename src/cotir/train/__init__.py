"""Training: the objective, its multipliers, and what drives them."""
