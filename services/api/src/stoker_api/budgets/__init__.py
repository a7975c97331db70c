"""Budgets of users and projects: kept by the deployer, which holds the money; shown and set here."""
