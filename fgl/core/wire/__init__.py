"""The trust boundary: the formats of everything that clients and server send each other, read strictly."""
