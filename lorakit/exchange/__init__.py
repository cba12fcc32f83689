"""Recipes in and out of other programs' words. Executes nothing, fetches nothing."""
