"""Tools of the project's contributors; nothing that users install."""
