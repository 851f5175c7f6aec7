"""What nodes on PostgreSQL and Redis cost: durable messages, several nodes, pages of a large history, a crowd that comes back."""
