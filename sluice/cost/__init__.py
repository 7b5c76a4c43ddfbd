"""What Sluice costs its owner: measured figures, list prices, and formulas between them. Pure."""
