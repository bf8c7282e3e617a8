"""Draws the shapes data sets, and trains, packs and measures the bundled models on them."""
