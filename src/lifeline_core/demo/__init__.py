"""A small city for a minute: real service, real sockets, planted events, a score."""
