"""The engine core: C sources and the library built from them. No Python lives here."""
