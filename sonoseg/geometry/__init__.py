"""Points, shapes and how they are fitted to masks, in pixels and millimetres. Imports no torch."""
