"""Contracts that every service of Stoker shares: what is said on the bus, by whom, and in which form."""
