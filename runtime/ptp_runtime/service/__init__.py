"""Many photos: a server that answers requests, and runs over whole collections."""
