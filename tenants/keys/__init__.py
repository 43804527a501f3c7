"""Keys of tenants: `port` seals and destroys data keys for everybody, `service` alone opens them."""
