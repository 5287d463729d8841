"""Built-in plugins. They come in through the same door as everybody else's."""
