//! `E07xx`: usage.

codes! {}
