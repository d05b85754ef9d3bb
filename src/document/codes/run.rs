//! `E06xx`: plan, gate, apply.

codes! {}
