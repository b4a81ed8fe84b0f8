"""Cost, speed and the choice of a way to run a model: what the command line advises, without I/O."""
