"""Analytics: events off the machines, into a store, and counted."""
