//! Laws of the loader.
