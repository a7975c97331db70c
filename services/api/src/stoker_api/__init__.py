"""Public gateway of Stoker: keys, recipes, plans, jobs as users see them, events for browsers."""
