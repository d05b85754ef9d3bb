//! `E04xx`: source and Git.

codes! {}
