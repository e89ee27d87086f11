"""What pytest touches: hooks, collection, fixtures, outputs."""
