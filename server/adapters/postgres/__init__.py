"""The store on PostgreSQL: its functions are the numbered SQL files here, applied once each."""
